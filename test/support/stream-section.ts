/** One device's section of a stream that a real QEMU sent. */

import { analyzeStream } from '../../src/report/analyze.ts';

/** One device's section as QEMU sent it. */
export interface RealSection {
  readonly payload: Uint8Array;
  readonly version: number;
  /** Its members of the vmdescription, as JSON text. */
  readonly described: string;
}

/** One section of a whole stream, with what the stream's description says of it. */
export function sectionOf(stream: Uint8Array, idstr: string): RealSection {
  const { elements, vmDescription } = analyzeStream(stream);
  const section = elements.find((element) => element.kind === 'section' && element.idstr === idstr);
  if (section?.kind !== 'section' || vmDescription === undefined) throw new Error(`no section '${idstr}'`);
  const { payloadOffset, payloadSize, version } = section;
  const json = Buffer.from(stream.subarray(vmDescription.offset + 5, vmDescription.offset + vmDescription.size));
  // Trusted here: tests read what QEMU wrote.
  const { devices } = JSON.parse(json.toString()) as { devices: { name: string; instance_id?: number }[] };
  const found = devices.find(({ name }) => name === idstr);
  if (found === undefined) throw new Error(`'${idstr}' is not described`);
  const { name: _, instance_id: __, ...members } = found;
  return {
    payload: Uint8Array.from(stream.subarray(payloadOffset, payloadOffset + payloadSize)),
    version,
    described: JSON.stringify(members),
  };
}
