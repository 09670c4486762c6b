/** Results as JUnit's XML, which CI systems read. */

/** One suite of results. */
export interface JunitSuite {
  readonly name: string;
  readonly cases: readonly {
    readonly name: string;
    /** Why it failed, if it did. */
    readonly why?: string;
    readonly durationMs?: number;
  }[];
}

/** The XML document of one suite. */
export function junitXml({ name, cases }: JunitSuite): string {
  const failures = cases.filter(({ why }) => why !== undefined).length;
  const totalMs = cases.reduce((sum, { durationMs = 0 }) => sum + durationMs, 0);
  const suite = `<testsuite name="${escaped(name)}" tests="${cases.length}" failures="${failures}" time="${seconds(totalMs)}">`;
  const rows = cases.map(({ name: title, why, durationMs = 0 }) => {
    const open = `  <testcase classname="${escaped(name)}" name="${escaped(title)}" time="${seconds(durationMs)}"`;
    return why === undefined ? `${open}/>` : `${open}><failure message="${escaped(why)}"/></testcase>`;
  });
  return ['<?xml version="1.0" encoding="UTF-8"?>', suite, ...rows, '</testsuite>', ''].join('\n');
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}

/** For attributes; XML 1.0 has no way to write most control characters. */
function escaped(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    '\n': '&#10;',
  };
  return text.replaceAll(/[&<>"\n]/g, (character) => names[character]!).replaceAll(/\p{Cc}/gu, '\ufffd');
}
