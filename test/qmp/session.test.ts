import { describe, expect, test } from 'vitest';
import { failure, SessionDriver } from '../support/session-driver.ts';

const EXPECTING = failure("Expecting capabilities negotiation with 'qmp_capabilities'", { class: 'CommandNotFound' });

/** Lets everything that is ready to run do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('greeting and negotiation', () => {
  test('the greeting has the numbers of QEMU, a package of our own, and the offer of oob', () => {
    expect(new SessionDriver().messages()).toEqual([
      {
        QMP: {
          version: { qemu: { major: 10, minor: 0, micro: 2 }, package: 'Switchover 1.2.3' },
          capabilities: ['oob'],
        },
      },
    ]);
  });

  test('every message is a line of ASCII that ends in CR LF', async () => {
    const driver = await SessionDriver.negotiated();
    await driver.ask({ execute: 'query-name', id: 'ü\n' });
    for (const text of driver.raw) expect(text).toMatch(/^[ -~]+\r\n$/);
  });

  test('before negotiation only qmp_capabilities is there', async () => {
    const driver = new SessionDriver();
    driver.messages();
    expect(await driver.ask('{"execute": "query-status"} {"execute": "query-commands"} {"execute": "nope"}')).toEqual([
      EXPECTING,
      EXPECTING,
      EXPECTING,
    ]);
  });

  test('a failed negotiation may be tried again, a second one is too many', async () => {
    const driver = new SessionDriver();
    driver.messages();
    const negotiate = (enable: unknown) => driver.ask({ execute: 'qmp_capabilities', arguments: { enable } });
    expect(await negotiate(['x'])).toEqual([failure("Parameter 'null' does not accept value 'x'")]);
    expect(await negotiate('oob')).toEqual([failure("Invalid parameter type for 'enable', expected: array")]);
    expect(await negotiate(['oob', 'oob'])).toEqual([{ return: {} }]);
    expect(await negotiate([])).toEqual([
      failure('Capabilities negotiation is already complete, command ignored', { class: 'CommandNotFound' }),
    ]);
  });
});

describe('the envelope', () => {
  test.for<[string, object]>([
    ['[1]', failure('QMP input must be a JSON object')],
    ['"x"', failure('QMP input must be a JSON object')],
    ['{}', failure("QMP input lacks member 'execute'")],
    ['{"id": 3}', failure("QMP input lacks member 'execute'", { id: 3 })],
    ['{"id": 3, "foo": 4}', failure("QMP input member 'foo' is unexpected", { id: 3 })],
    ['{"execute": 1}', failure("QMP input member 'execute' must be a string")],
    ['{"execute": "stop", "arguments": null}', failure("QMP input member 'arguments' must be an object")],
    ['{"execute": "stop", "arguments": []}', failure("QMP input member 'arguments' must be an object")],
    ['{"exec-oob": "stop"}', failure("QMP input member 'exec-oob' is unexpected")],
    ['{"execute": "a", "exec-oob": "b", "id": 1}', failure("QMP input member 'exec-oob' is unexpected", { id: 1 })],
    ['{"execute": "nope"}', failure('The command nope has not been found', { class: 'CommandNotFound' })],
    ['{"execute": "toString"}', failure('The command toString has not been found', { class: 'CommandNotFound' })],
    ['{"execute": "stop", "arguments": {"x": 1}}', failure("Parameter 'x' is unexpected")],
    ['nul ', failure("JSON parse error, invalid keyword 'nul'")],
  ])('%s', async ([input, expected]) => {
    const driver = await SessionDriver.negotiated();
    expect(await driver.ask(input)).toEqual([expected]);
    expect(driver.vm.calls).toEqual([]);
  });

  test.for(['null', '0', '"a"', '[1, {"b": null}]', '{"a": [true]}', '1.5'])('the id %s is echoed', async (id) => {
    const driver = await SessionDriver.negotiated();
    expect(await driver.ask(`{"execute": "query-name", "id": ${id}}`)).toEqual([{ return: {}, id: JSON.parse(id) }]);
    expect(await driver.ask(`{"execute": "nope", "id": ${id}}`)).toMatchObject([{ error: {}, id: JSON.parse(id) }]);
  });

  test('an id of 64 bits comes back exact', async () => {
    const driver = await SessionDriver.negotiated();
    await driver.ask('{"execute": "query-name", "id": 18446744073709551615}');
    expect(driver.raw.at(-1)).toBe('{"return": {}, "id": 18446744073709551615}\r\n');
  });
});

describe('order', () => {
  test('commands run one at a time, and nothing is read ahead, without oob', async () => {
    const driver = await SessionDriver.negotiated();
    const release = driver.vm.hold('stop');
    const sent = driver.send(
      '{"execute": "stop", "id": 1} {"execute": "cont", "id": 2} nul {"execute": "cont", "id": 3} ',
    );
    await settle();
    expect(driver.vm.calls).toEqual([['stop']]);
    release();
    await sent;
    expect(driver.messages()).toMatchObject([
      { event: 'STOP' },
      { return: {}, id: 1 },
      { event: 'RESUME' },
      { return: {}, id: 2 },
      failure("JSON parse error, invalid keyword 'nul'"),
      { return: {}, id: 3 },
    ]);
  });

  test('what is enabled by a command holds for the next one in the same write', async () => {
    const driver = new SessionDriver();
    driver.messages();
    const input =
      '{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}{"exec-oob": "query-name", "id": 1}';
    expect(await driver.ask(input)).toEqual([
      { return: {} },
      failure('The command query-name does not support OOB', { id: 1 }),
    ]);
  });

  test('no command runs while the client does not read its replies', async () => {
    const driver = await SessionDriver.negotiated();
    const unblock = driver.block();
    const answered = driver.ask({ execute: 'stop' });
    await settle();
    expect(driver.vm.calls).toEqual([]);
    unblock();
    await answered;
    expect(driver.vm.calls).toEqual([['stop']]);
  });
});

describe('out of band', () => {
  const PAUSE_REFUSED = failure(
    'migrate-pause is currently only supported during postcopy-active or postcopy-recover state',
    { id: 'oob' },
  );

  test('exec-oob overtakes what waits', async () => {
    const driver = await SessionDriver.negotiated({ oob: true });
    const release = driver.vm.hold('stop');
    await driver.send('{"execute": "stop", "id": 1}{"execute": "query-name", "id": 2}');
    await driver.send({ 'exec-oob': 'migrate-pause', id: 'oob' });
    expect(driver.messages().at(-1)).toEqual(PAUSE_REFUSED);
    release();
    await driver.session.idle();
    expect(driver.messages()).toMatchObject([{ event: 'STOP' }, { id: 1 }, { return: {}, id: 2 }]);
  });

  test('eight commands are read ahead, then reading stops', async () => {
    const driver = await SessionDriver.negotiated({ oob: true });
    driver.messages();
    const release = driver.vm.hold('stop');
    await driver.send('{"execute": "stop"}'.repeat(7));
    let taken = false;
    const eighth = driver.send('{"execute": "stop"}{"exec-oob": "migrate-pause", "id": "oob"}').then(() => {
      taken = true;
    });
    await settle();
    expect(taken).toBe(false);
    expect(driver.messages()).toEqual([]);
    release();
    await eighth;
    expect(driver.messages()).toContainEqual(PAUSE_REFUSED);
  });

  test.for<[string, object]>([
    ['{"exec-oob": "query-status", "id": 7}', failure('The command query-status does not support OOB', { id: 7 })],
    ['{"exec-oob": "qmp_capabilities"}', failure('The command qmp_capabilities does not support OOB')],
    ['{"exec-oob": "nope"}', failure('The command nope has not been found', { class: 'CommandNotFound' })],
    ['{"exec-oob": 1}', failure("QMP input member 'exec-oob' must be a string")],
    [
      '{"execute": "a", "exec-oob": "b", "id": 7}',
      failure("QMP input member 'execute' clashes with 'exec-oob'", { id: 7 }),
    ],
    ['{"exec-oob": "migrate-recover", "arguments": {}}', failure("Parameter 'uri' is missing")],
  ])('%s', async ([input, expected]) => {
    const driver = await SessionDriver.negotiated({ oob: true });
    driver.messages();
    expect(await driver.ask(input)).toEqual([expected]);
  });
});

describe('events', () => {
  test('come with seconds and microseconds, and without data when there is none', async () => {
    const driver = await SessionDriver.negotiated();
    driver.messages();
    driver.vm.emit({ name: 'STOP' });
    driver.vm.emit({ name: 'MIGRATION', data: { status: 'setup' } });
    const timestamp = { seconds: 1_700_000_000, microseconds: 123_456 };
    expect(driver.messages()).toEqual([
      { event: 'STOP', timestamp },
      { event: 'MIGRATION', data: { status: 'setup' }, timestamp },
    ]);
  });

  test('are for negotiated sessions only', () => {
    const driver = new SessionDriver();
    driver.messages();
    driver.vm.emit({ name: 'STOP' });
    expect(driver.messages()).toEqual([]);
  });

  test('end with the session', async () => {
    const driver = await SessionDriver.negotiated();
    expect(driver.vm.listenerCount).toBe(1);
    driver.session.close();
    expect(driver.vm.listenerCount).toBe(0);
  });
});

test('a client that leaves during a command drops those behind it', async () => {
  const driver = await SessionDriver.negotiated({ oob: true });
  driver.messages();
  const release = driver.vm.hold('stop');
  await driver.send('{"execute": "stop"}{"execute": "cont"}');
  await settle();
  driver.session.close();
  await driver.session.idle();
  release();
  await settle();
  expect(driver.vm.calls).toEqual([['stop']]);
  expect(driver.messages()).toEqual([]);
});
