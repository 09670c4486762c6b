/** Loader rules of spec/wire.md §12 that neither the recorded nor the hostile streams show, on streams made by hand. */

import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/wire/limits.ts';
import { LoadingMachine } from '../support/stream-loading.ts';

const MIB = 1 << 20;

/** Bytes of hex with spaces; text in quotes is one length byte and the text. */
function bytes(...parts: readonly string[]): Buffer {
  const text8 = (_: string, text: string) =>
    Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]).toString('hex');
  return Buffer.from(
    parts
      .join(' ')
      .replaceAll(/"([^"]*)"/g, text8)
      .replaceAll(' ', ''),
    'hex',
  );
}

const u32 = (value: number) => value.toString(16).padStart(8, '0');
const HEADER = '5145564d 00000003';
const CONFIGURATION = '07 00000004 6e6f6e65';
const START = `${HEADER} ${CONFIGURATION}`;
const EOF = '00';
const EOS = '0000000000000010';
const ZERO_PAGE = '0000000000000002 "ram" 00';
const TIMER_V2 = `0000000000000000 0000000000000000 0000000000000007`;
const timer = (type: string, id = 9) => `${type} ${u32(id)} "timer" 00000000 00000002 ${TIMER_V2} 7e ${u32(id)}`;
const ram = (type: string, records: string, id = 1) =>
  `${type} ${u32(id)} "ram" 00000000 00000004 ${records} 7e ${u32(id)}`;
const packaged = (content: string) => `08 0007 0004 ${u32(bytes(content).length)} ${content}`;
const GLOBALSTATE_TAIL = 'ff'.repeat(66);
const globalstate = (state: string) => {
  const text = Buffer.from(state).toString('hex').padEnd(64, '0');
  return `04 00000003 "globalstate" 00000000 00000001 00000000 ${text} 00 01 ${GLOBALSTATE_TAIL} 7e 00000003`;
};

async function load(...parts: readonly string[]) {
  return new LoadingMachine({ ramBytes: MIB }).load(bytes(...parts));
}

describe('accepted', () => {
  test.for([
    ['devices before ram, no END', [timer('04'), ram('01', EOS)]],
    ['START for a device, FULL for ram', [timer('01'), ram('04', EOS)]],
    ['START twice, the last id wins', [ram('01', EOS, 1), ram('01', EOS, 2), `02 00000002 ${EOS} 7e 00000002`]],
    ['one device twice', [timer('04'), timer('04', 10)]],
    ['timer version 1', ['04 00000009 "timer" 00000000 00000001 0000000000000000 0000000000000000 7e 00000009']],
    ['an empty block list', [ram('01', `0000000000000004 ${EOS}`)]],
    ['a block listed twice', [ram('01', `0000000000200004 "ram" 0000000000100000 "ram" 0000000000100000 ${EOS}`)]],
    ['a multifd flush without multifd', [ram('01', `0000000000000200 ${EOS}`)]],
    ['an end marker with CONTINUE', [ram('01', '0000000000000030')]],
    ['OPEN_RETURN_PATH twice', ['08 0001 0000', '08 0001 0000']],
    ['SWITCHOVER_START anywhere, repeated', ['08 000b 0000', '08 000b 0000', ram('01', EOS), '08 000b 0000']],
    ['POSTCOPY_ADVISE without data', ['08 0003 0000']],
    ['RECV_BITMAP outside a recovery', ['08 000a 0004 "ram"']],
    ['a package with devices and EOF in precopy', [packaged(`${timer('04')} ${EOF}`), ram('01', EOS)]],
    ['one package after another', [packaged(EOF), packaged(`${ram('01', EOS)} ${EOF}`)]],
    ['pages in a package', [packaged(`${ram('01', `${ZERO_PAGE} ${EOS}`)} ${EOF}`)]],
    ['globalstate with a wrong size and a tail that is not zero', [globalstate('paused')]],
  ] as const)('%s', async ([, parts]) => {
    expect((await load(START, ...parts, EOF)).error).toBeUndefined();
  });

  test.for([
    ['none', ''],
    ['another element', '08'],
    ['a length that is not there', '06 0000'],
    ['less JSON than announced', '06 00000010 7b'],
    ['no JSON', '06 00000002 7b7b'],
    ['an absurd length', '06 ffffffff 7b7d'],
    ['bytes after it', '06 00000002 7b7d 01020304'],
  ] as const)('description: %s', async ([, tail]) => {
    expect((await load(START, EOF, tail)).error).toBeUndefined();
  });

  test('what a package holds arrives', async () => {
    const { state } = await load(START, packaged(`${globalstate('paused')} ${timer('04')} ${EOF}`), EOF);
    expect(state).toEqual({ cpuTicksOffset: 0n, cpuClockOffset: 7n, runState: 'paused', wasSuspended: false });
  });
});

describe('refused', () => {
  const afterStart = bytes(START).length;
  test.for([
    ['a section id that none introduced', [`02 00000000 ${EOS}`], afterStart + 1, 'section id'],
    [
      'the instance id that QEMU takes for any',
      [timer('04').replace('00000000', u32(0xffff_ffff))],
      afterStart + 5,
      'section name',
    ],
    [
      'a second block list entry for an unknown block',
      [ram('01', '0000000000200004 "ram" 0000000000100000 "rom"')],
      afterStart + 17 + 8 + 12,
      'RAM block name',
    ],
    [
      'a total below the list',
      [ram('01', `0000000000080004 "ram" 0000000000100000 ${EOS}`)],
      afterStart + 17,
      'total of the RAM block list',
    ],
    ['CONTINUE without a block', [ram('01', '0000000000000022 00')], afterStart + 17, 'RAM record'],
    [
      'a page at the end of its block',
      [ram('01', '0000000000100002 "ram" 00')],
      afterStart + 17,
      "page offset in block 'ram'",
    ],
    ['a page beyond 2^63', [ram('01', 'fffffffffffff002 "ram" 00')], afterStart + 17, "page offset in block 'ram'"],
    [
      'a zero page with a fill byte',
      [ram('01', '0000000000000002 "ram" 01')],
      afterStart + 17 + 12,
      'fill byte of a zero page',
    ],
    ['a hook record', [ram('01', '0000000000000080')], afterStart + 17, 'RAM record flags'],
    ['a compressed page', [ram('01', '0000000000000100')], afterStart + 17, 'RAM record flags'],
    [
      'an XBZRLE delta longer than a page',
      [ram('01', '0000000000000040 "ram" 01 1001')],
      afterStart + 17 + 13,
      'xbzrle length',
    ],
    [
      'a footer with another id',
      [ram('01', EOS).replace('7e 00000001', '7e 00000002')],
      afterStart + 17 + 9,
      'section id in the footer',
    ],
    ['POSTCOPY_ADVISE twice', ['08 0003 0000 08 0003 0000'], afterStart + 6, 'command id'],
    ['RECV_BITMAP for an unknown block', ['08 000a 0004 "rom"'], afterStart + 6, 'RAM block name'],
    ['RECV_BITMAP without a name', ['08 000a 0001 00'], afterStart + 3, 'command length'],
    ['an empty package', [packaged('')], afterStart + 9, 'PACKAGED content'],
    ['a package without EOF', [packaged(timer('04'))], afterStart + 9 + bytes(timer('04')).length, 'PACKAGED content'],
    [
      'rubbish in a package',
      [packaged(`${timer('04')} 55`)],
      afterStart + 9 + bytes(timer('04')).length,
      'element type',
    ],
    ['a package in a package', [packaged(`${packaged(EOF)} ${EOF}`)], afterStart + 10, 'command id'],
    ['a package over the limit', [`08 0007 0004 ${u32(LIMITS.PACKAGED_BYTES + 1)}`], afterStart + 5, 'package size'],
    ['a description before EOF', ['06 00000002 7b7d'], afterStart, 'element type'],
    ['a second configuration', [CONFIGURATION], afterStart, 'element type'],
    ['a run state that is none', [globalstate('asleep')], afterStart + 25 + 4, 'runstate'],
    ['a run state without an end', [globalstate('paused'.padEnd(32, 'd'))], afterStart + 25 + 4, 'runstate'],
  ] as const)('%s', async ([, parts, at, field]) => {
    const { error } = await load(START, ...parts, EOF);
    if (!isHarnessError(error) || !('field' in error.details)) throw error ?? new Error('it was loaded');
    expect({ field: error.details.field, at: error.details.at }).toEqual({ field, at });
  });

  test.for([
    ['version 2', '5145564d 00000002', 4, 'version'],
    ['no machine name', `${HEADER} 07 00000000`, 13, 'machine name'],
    ['the beginning of the machine name', `${HEADER} 07 00000002 6e6f`, 13, 'machine name'],
    ['a machine name over the limit', `${HEADER} 07 00000100`, 9, 'machine name (length)'],
    [
      'a capability that only JavaScript knows',
      `${START} 05 "configuration/capabilities" 00000001 00000001 "constructor"`,
      53,
      'capability name',
    ],
    [
      'too many capabilities',
      `${START} 05 "configuration/capabilities" 00000001 ffffffff`,
      49,
      'number of capabilities',
    ],
    ['a subsection in version 0', `${START} 05 "configuration/uuid" 00000000`, 37, 'version of configuration/uuid'],
  ] as const)('configuration: %s', async ([, stream, at, field]) => {
    const { error } = await load(stream);
    if (!isHarnessError(error) || !('field' in error.details)) throw error ?? new Error('it was loaded');
    expect({ field: error.details.field, at: error.details.at }).toEqual({ field, at });
  });
});
