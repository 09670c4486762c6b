/** An analysis as plain text for people: one line per element, below it what it holds. */

import type { AnalyzedElement, FieldValue, RamSectionAnalysis, SectionAnalysis, StreamAnalysis } from './analysis.ts';

/** Bytes of a buffer that one line shows. */
const SHOWN_HEX = 64;

/** The text, with a newline at its end. */
export function formatAnalysis(analysis: StreamAnalysis): string {
  const { header, configuration, elements, vmDescription, ramBlocks, trailingBytes, errors } = analysis;
  const lines = [`stream of ${analysis.fileBytes} bytes${header === undefined ? '' : `, version ${header.version}`}`];
  if (configuration !== undefined) {
    lines.push(row(configuration.offset, configuration.size, `configuration: machine '${configuration.machine}'`));
    for (const { offset, size, name, value } of configuration.subsections) {
      lines.push(row(offset, size, `  ${name} = ${Array.isArray(value) ? value.join(', ') : value}`));
    }
  }
  for (const element of elements) lines.push(...elementLines(element));
  if (vmDescription !== undefined) {
    lines.push(row(vmDescription.offset, vmDescription.size, `vmdescription: ${vmDescription.devices} sections`));
  }
  if (trailingBytes > 0)
    lines.push(row(analysis.fileBytes - trailingBytes, trailingBytes, 'after the end of the stream'));
  if (ramBlocks.length > 0) lines.push('', ...ramTable(analysis));
  for (const error of errors)
    lines.push('', `error at byte ${error.offset} (0x${error.offset.toString(16)}): ${error.message}`);
  return `${lines.join('\n')}\n`;
}

function row(offset: number, size: number, text: string): string {
  return `${offset.toString(16).padStart(8, '0')} ${String(size).padStart(10)}  ${text}`;
}

function elementLines(element: AnalyzedElement): string[] {
  const inside = element.packaged ? '| ' : '';
  const line = (text: string) => row(element.offset, element.size, `${inside}${text}`);
  switch (element.kind) {
    case 'eof':
      return [line('EOF')];
    case 'command': {
      const blob = element.packageBytes === undefined ? '' : `, package of ${element.packageBytes} bytes`;
      return [line(`COMMAND ${element.name}${element.data === '' ? '' : ` ${cut(element.data)}`}${blob}`)];
    }
    default:
      return [line(sectionTitle(element)), ...(element.fields ?? []).map((field) => fieldLine(field, inside))];
  }
}

function sectionTitle(section: SectionAnalysis): string {
  const { type, idstr, instanceId, version, sectionId, payloadSize } = section;
  const parts = [
    `${type.toUpperCase()} '${idstr}' instance ${instanceId} version ${version} id ${sectionId}: ${payloadSize} bytes`,
  ];
  if (section.ram !== undefined) parts.push(...ramParts(section.ram));
  const counted = Object.entries(section.records ?? {}).filter(([, count]) => count > 0);
  parts.push(...counted.map(([kind, count]) => `${count} ${kind}`));
  return parts.join(', ');
}

function ramParts({ list, records }: RamSectionAnalysis): string[] {
  const listed = list?.blocks.map(({ name, length }) => `${name} ${length}`).join(', ');
  const counted = Object.entries(records).filter(([kind, { count }]) => kind !== 'list' && count > 0);
  return [
    ...(listed === undefined ? [] : [`list (${listed})`]),
    ...counted.map(([kind, { count, bytes }]) => `${count} ${kind} (${bytes} bytes)`),
  ];
}

function fieldLine({ path, type, offset, size, value }: FieldValue, inside: string): string {
  const shown = typeof value === 'string' ? cut(value) : String(value);
  return row(offset, size, `${inside}  ${path} (${type}) = ${shown}${asText(type, value)}`);
}

/** Buffers that hold a name padded with zeros, such as the run state, are shown as that name too. */
function asText(type: string, value: FieldValue['value']): string {
  if (type !== 'buffer' || typeof value !== 'string') return '';
  const text = /^((?:[2-7][\da-f])+)(?:00)*$/.exec(value)?.[1];
  return text === undefined || text.length % 2 === 1 ? '' : ` '${Buffer.from(text, 'hex').toString('latin1')}'`;
}

function cut(text: string): string {
  return text.length <= SHOWN_HEX ? text : `${text.slice(0, SHOWN_HEX)}… (${text.length} characters)`;
}

function ramTable({ ramBlocks }: StreamAnalysis): string[] {
  const head = ['RAM block', 'bytes', 'zero', 'data', 'xbzrle', 'compressed', 'first', 'last'];
  const hexOffset = (offset: number) => (offset < 0 ? '-' : `0x${offset.toString(16)}`);
  const rows = ramBlocks.map((block) => [
    block.name,
    block.length === undefined ? 'not listed' : String(block.length),
    ...[block.zeroPages, block.dataPages, block.xbzrlePages, block.compressedPages].map(String),
    hexOffset(block.firstOffset),
    hexOffset(block.lastOffset),
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  const pad = (cell: string, column: number) =>
    column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
  return [head, ...rows].map((cells) => cells.map(pad).join('  ').trimEnd());
}
