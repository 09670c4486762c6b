/** Devices' sections of a stream that a real QEMU sent. */

import { analyzeStream } from '../../src/report/analyze.ts';

/** One device's section as QEMU sent it. */
export interface RealSection {
  readonly idstr: string;
  readonly payload: Uint8Array;
  readonly version: number;
  /** Its members of the vmdescription, as JSON text. */
  readonly described: string;
}

const DESCRIPTION_HEADER_BYTES = 5;

/** Every FULL section that the stream describes by fields, in stream order. */
export function sectionsOf(stream: Uint8Array): readonly RealSection[] {
  const { elements, vmDescription } = analyzeStream(stream);
  if (vmDescription === undefined) throw new Error('the stream has no description');
  const { offset, size } = vmDescription;
  const json = Buffer.from(stream.subarray(offset + DESCRIPTION_HEADER_BYTES, offset + size)).toString();
  // Trusted here: tests read what QEMU wrote.
  const { devices } = JSON.parse(json) as { devices: { name: string; instance_id: number; vmsd_name?: string }[] };
  return devices.flatMap(({ name, instance_id: instanceId, ...members }) => {
    const section = elements.find(
      (element) => element.kind === 'section' && element.idstr === name && element.instanceId === instanceId,
    );
    if (section?.kind !== 'section' || members.vmsd_name === undefined) return [];
    const { payloadOffset, payloadSize, version } = section;
    const payload = Uint8Array.from(stream.subarray(payloadOffset, payloadOffset + payloadSize));
    return [{ idstr: name, payload, version, described: JSON.stringify(members) }];
  });
}

/** The first of them with this name. */
export function sectionOf(stream: Uint8Array, idstr: string): RealSection {
  const section = sectionsOf(stream).find((found) => found.idstr === idstr);
  if (section === undefined) throw new Error(`no section '${idstr}'`);
  return section;
}
