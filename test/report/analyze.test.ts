import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { messageOf } from '../../src/base/errors.ts';
import type { CommandAnalysis, SectionAnalysis, StreamAnalysis } from '../../src/report/analysis.ts';
import { analyzeStream, formatAnalysis } from '../../src/report/analyze.ts';
import { findVmDescription } from '../../src/report/vm-description.ts';
import { recordedStream } from '../support/recorded-stream.ts';

/** FULL sections of real machines between `timer` and `globalstate` (spec/wire.md §11): idstr[instance] version size. */
const MACHINES = {
  'none-1m-file.main': ['none', ''],
  'isapc-1m.main.gz': [
    'isapc',
    `cpu_common v1 8, cpu v12 1851, fw_cfg v2 30, mc146818rtc v3 245, dma v1 75, dma[1] v1 75, i8259 v1 16, i8259[1] v1 16,
     i8254 v3 108, pcspk v1 2, fdc v2 593, ps2kbd v3 284, ps2mouse v2 291, pckbd v3 40, vmmouse v0 4105, port92 v1 1,
     isa-ide v3 58, isa-ide[1] v3 58`,
  ],
  'microvm-1m.main.gz': [
    'microvm',
    `fw_cfg v2 74, cpu_common v1 8, cpu v12 1851, kvm-tpr-opt v1 144, apic v3 181, ioapic v3 206, ioapic[1] v3 206,
     acpi-ged v1 28, i8259 v1 16, i8259[1] v1 16, i8254 v3 108, mc146818rtc v3 245`,
  ],
  'pc-1m.main.gz': [
    'pc-i440fx-10.0',
    `cpu_common v1 8, cpu v12 1851, kvm-tpr-opt v1 144, apic v3 181, 0000:00:00.0/I440FX v3 277, PCIHost v1 4, PCIBUS v1 20,
     fw_cfg v2 74, dma v1 75, dma[1] v1 75, mc146818rtc v3 245, 0000:00:01.1/ide v3 430, i2c_bus v1 1,
     0000:00:01.3/piix4_pm v3 2432, 0000:00:01.0/PIIX3 v3 292, i8259 v1 16, i8259[1] v1 16, ioapic v3 206, hpet v2 151,
     i8254 v3 108, pcspk v1 2, fdc v2 593, ps2kbd v3 284, ps2mouse v2 291, pckbd v3 40, vmmouse v0 4105, port92 v1 1,
     acpi_build v1 1`,
  ],
} as const;
const MACHINE_ROWS = Object.entries(MACHINES).map(([file, [machine, devices]]) => ({ file, machine, devices }));

const sections = (analysis: StreamAnalysis): SectionAnalysis[] => analysis.elements.filter((e) => e.kind === 'section');
const commands = (analysis: StreamAnalysis): CommandAnalysis[] => analysis.elements.filter((e) => e.kind === 'command');
const full = (analysis: StreamAnalysis) => sections(analysis).filter(({ type }) => type === 'full');

function sectionOf(analysis: StreamAnalysis, idstr: string): SectionAnalysis {
  const found = full(analysis).find((section) => section.idstr === idstr);
  if (found === undefined) throw new Error(`no section '${idstr}'`);
  return found;
}

function fieldValue(section: SectionAnalysis, path: string): number | boolean | string | undefined {
  return section.fields?.find((field) => field.path === path)?.value;
}

describe.for(MACHINE_ROWS)('a recorded $machine', ({ file, machine, devices }) => {
  const bytes = recordedStream(file);
  const analysis = analyzeStream(bytes);

  test('is understood to its last byte', () => {
    expect(analysis.errors).toEqual([]);
    expect(analysis.trailingBytes).toBe(0);
    expect(analysis.configuration?.machine).toBe(machine);
    // Header, elements and description lie side by side without a gap.
    const parts = [analysis.header, analysis.configuration, ...analysis.elements, analysis.vmDescription];
    let next = 0;
    for (const part of parts) {
      expect(part?.offset).toBe(next);
      next += part?.size ?? 0;
    }
    expect(next).toBe(bytes.length);
  });

  test('has every device section at its size', () => {
    const wanted = devices.split(',').map((device) => device.trim());
    const found = full(analysis).map(({ idstr, instanceId, version, payloadSize }) => {
      return `${idstr}${instanceId === 0 ? '' : `[${instanceId}]`} v${version} ${payloadSize}`;
    });
    expect(found).toEqual(['timer v2 24', ...wanted.filter((device) => device !== ''), 'globalstate v1 104']);
  });

  test('has a value for every byte of device state but the headers of subsections', () => {
    for (const section of full(analysis)) {
      let next = section.payloadOffset;
      for (const { offset, size, path } of section.fields ?? []) {
        expect(offset, `${section.idstr}: ${path}`).toBeGreaterThanOrEqual(next);
        // Between two values there is nothing, or 05 and a subsection's name and version.
        if (offset > next) expect(bytes[next], `${section.idstr}: before ${path}`).toBe(0x05);
        next = offset + size;
      }
      expect(next).toBe(section.payloadOffset + section.payloadSize);
    }
  });

  test('shows the run state as text', () => {
    expect(fieldValue(sectionOf(analysis, 'globalstate'), 'runstate')).toMatch(/^7072656c61756e6368(00)+$/);
    expect(formatAnalysis(analysis)).toContain(`'prelaunch'`);
  });
});

test('device state has its values by path: arrays, structs, temporaries, subsections, elements with an index', () => {
  const analysis = analyzeStream(recordedStream('pc-1m.main.gz'));
  const cpu = sectionOf(analysis, 'cpu');
  expect(fieldValue(cpu, 'env.eip')).toBe(0xfff0);
  expect(fieldValue(cpu, 'env.segs[1].base')).toBe(0xffff_0000);
  expect(fieldValue(cpu, 'env.fpregs[7].tmp.tmp_mant')).toBe(0);
  expect(cpu.fields?.some(({ path }) => path.startsWith('cpu/poll_control_msr.'))).toBe(true);
  const drives = sectionOf(analysis, '0000:00:01.1/ide').fields?.map(({ path }) => /^bus\[\d\]/.exec(path)?.[0]);
  // QEMU 10 leaves the index of the last element out.
  expect(new Set(drives)).toEqual(new Set([undefined, 'bus[0]', 'bus[1]']));
});

test('RAM records are counted by kind and by block', () => {
  const analysis = analyzeStream(recordedStream('microvm-1m-xbzrle.main'));
  const [ram] = analysis.ramBlocks;
  expect(ram).toMatchObject({ name: 'microvm.ram', length: 1048576, zeroPages: 251, dataPages: 14, xbzrlePages: 16 });
  const single = analyzeStream(recordedStream('none-4m-single.main'));
  const part = sections(single).find(({ ram: payload }) => (payload?.records.page.count ?? 0) > 0);
  // The first record names the block and takes four bytes more.
  expect(part?.ram?.records).toMatchObject({ page: { count: 16 }, zero: { count: 1008 } });
  expect((part?.ram?.records.page.bytes ?? 0) + (part?.ram?.records.zero.bytes ?? 0)).toBe(16 * 4104 + 1008 * 9 + 4);
  expect(single.ramBlocks).toMatchObject([{ name: 'ram', length: 4 << 20, firstOffset: 0, lastOffset: 0x3f_f000 }]);
});

test('a package is shown with what is in it', () => {
  const analysis = analyzeStream(recordedStream('none-4m-postcopy.main'));
  expect(analysis.errors).toEqual([]);
  const packaged = analysis.elements.filter((element) => element.packaged);
  expect(
    packaged.map((element) => ('name' in element ? element.name : 'idstr' in element ? element.idstr : '')),
  ).toEqual(['POSTCOPY_LISTEN', 'timer', 'globalstate', 'PING', 'POSTCOPY_RUN']);
  expect(commands(analysis).find(({ name }) => name === 'PACKAGED')).toMatchObject({
    data: '000000c9',
    packageBytes: 201,
  });
});

test('multifd streams keep their flush records, mapped-ram files their pages outside the stream', () => {
  const multifd = analyzeStream(recordedStream('none-4m-multifd-zstd.main'));
  expect(sections(multifd).reduce((sum, { ram }) => sum + (ram?.records.flush.count ?? 0), 0)).toBe(3);
  const mapped = analyzeStream(recordedStream('none-4m-mapped-ram.file.gz'));
  expect(mapped.configuration?.subsections).toMatchObject([
    { name: 'configuration/capabilities', value: ['mapped-ram'] },
  ]);
  const [start] = sections(mapped);
  expect(start?.ram?.list?.blocks).toEqual([
    {
      name: 'ram',
      length: 4 << 20,
      mapped: { version: 1, pageSize: 4096, bitmapOffset: 129, pagesOffset: 0x10_0000, pages: 16 },
    },
  ]);
});

test('streams of other settings are read: no footers, dirty bitmaps, UUID, shared memory', () => {
  const old = analyzeStream(recordedStream('none-1m-oldformat.main'));
  expect(old).toMatchObject({ footers: false, errors: [], trailingBytes: 0 });
  const bitmaps = analyzeStream(recordedStream('none-1m-dirty-bitmaps-plain.main'));
  const last = sections(bitmaps).findLast(({ idstr }) => idstr === 'dirty-bitmap');
  expect(last?.records).toMatchObject({ complete: 3 });
  const uuid = analyzeStream(recordedStream('none-4m-validate-uuid.main'));
  expect(uuid.configuration?.subsections).toMatchObject([{ value: '11223344-5566-7788-99aa-bbccddeeff00' }]);
  const shared = analyzeStream(recordedStream('none-4m-ignore-shared.main'));
  expect(sections(shared)[0]?.ram?.list?.blocks).toEqual([{ name: 'm', length: 4 << 20, address: 0 }]);
});

test('a multifd channel given for a stream is named as what it is', () => {
  const analysis = analyzeStream(recordedStream('none-4m-multifd-none.mfd0'));
  expect(analysis.errors).toMatchObject([{ code: 'stream/bad-value', offset: 0, field: 'magic' }]);
  expect(analysis.errors[0]?.message).toContain('multifd channel');
});

describe('without the description', () => {
  const bytes = recordedStream('pc-1m.main.gz');
  const descriptionAt = findVmDescription(bytes)?.offset ?? 0;
  const analysis = analyzeStream(bytes.subarray(0, descriptionAt));

  test('the analysis goes to the first section of unknown size and says where it is', () => {
    expect(sections(analysis).map(({ idstr }) => idstr)).toEqual(['ram', 'ram', 'ram', 'timer']);
    expect(analysis.errors).toMatchObject([{ code: 'stream/unsupported', offset: 0x4d68, field: 'payload' }]);
    expect(analysis.errors[0]?.section).toBe("section 'cpu_common' instance 0 version 1");
  });

  test('a machine with known sections only is read to its end', () => {
    const none = recordedStream('none-1m-file.main');
    const cut = analyzeStream(none.subarray(0, findVmDescription(none)?.offset));
    expect(cut.errors).toEqual([]);
    expect(fieldValue(sectionOf(cut, 'globalstate'), 'vm_was_suspended')).toBe(0);
  });
});

describe('whatever the bytes are', () => {
  const recordings = [...Object.keys(MACHINES), 'none-4m-postcopy.main', 'none-1m-dirty-bitmaps-plain.main'];
  const streams = [...recordings, 'none-1m-oldformat.main', 'none-4m-ignore-shared.main'].map(recordedStream);
  const anyStream = fc.constantFrom(...streams);

  test('a stream cut before its EOF byte is an error at or before the cut, at every length', () => {
    const none = recordedStream('none-1m-file.main');
    const eofAt = (findVmDescription(none)?.offset ?? 0) - 1;
    for (let length = 0; length <= eofAt; length += 1) {
      const { errors } = analyzeStream(none.subarray(0, length));
      expect(errors, `cut at ${length}`).toHaveLength(1);
      expect(errors[0]?.code, `cut at ${length}`).toBe('stream/truncated');
      expect(errors[0]?.offset).toBeLessThanOrEqual(length);
    }
  });

  test('cuts and changed bytes give an analysis with errors that have a place, never a crash', () => {
    const changes = fc.array(fc.record({ at: fc.nat(200_000), byte: fc.nat(255) }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(anyStream, changes, fc.option(fc.nat(200_000)), (stream, list, cut) => {
        const bytes = stream.slice(0, cut === null ? stream.length : cut % stream.length);
        for (const { at, byte } of list) bytes[at % Math.max(1, bytes.length)] = byte;
        checkAnalysis(bytes);
      }),
      { numRuns: 400 },
    );
  });

  test('changed bytes in the structure of a small stream do no more than that', () => {
    const none = recordedStream('none-1m-file.main');
    fc.assert(
      fc.property(
        fc.nat(none.length - 1),
        fc.constantFrom(0, 1, 2, 4, 5, 6, 7, 8, 0x30, 0x7e, 0x7f, 0xff),
        (at, byte) => {
          const bytes = none.slice();
          bytes[at] = byte;
          checkAnalysis(bytes);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test('random bytes behind a good header do no more than that', () => {
    const header = recordedStream('none-1m-file.main').subarray(0, 17);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => checkAnalysis(Buffer.concat([header, tail]))));
  });

  /** What holds for every analysis; throws otherwise. */
  function checkAnalysis(bytes: Uint8Array): void {
    let analysis: StreamAnalysis;
    try {
      analysis = analyzeStream(bytes);
    } catch (error) {
      throw new Error(`the analysis threw: ${messageOf(error)}`, { cause: error });
    }
    for (const { offset, message } of analysis.errors) {
      expect(offset).toBeLessThanOrEqual(bytes.length);
      expect(message).not.toBe('');
    }
    for (const { offset, size } of analysis.elements) expect(offset + size).toBeLessThanOrEqual(bytes.length);
    expect(formatAnalysis(analysis)).toContain(`stream of ${bytes.length} bytes`);
    expect(() => JSON.stringify(analysis)).not.toThrow();
  }
});
