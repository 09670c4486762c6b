/** Results as JUnit XML, whatever is in their texts. */

import { expect, test } from 'vitest';
import { junitXml } from '../../src/report/junit.ts';

test('cases are counted, times are in seconds, and texts are escaped', () => {
  const cases = [
    { name: 'good', durationMs: 1500 },
    { name: 'a < b', why: 'it said "no" & left\nat \u0007', durationMs: 20 },
  ];
  expect(junitXml({ name: 'device x', cases }).split('\n')).toEqual([
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuite name="device x" tests="2" failures="1" time="1.520">',
    '  <testcase classname="device x" name="good" time="1.500"/>',
    '  <testcase classname="device x" name="a &lt; b" time="0.020"><failure message="it said &quot;no&quot; &amp; left&#10;at \ufffd"/></testcase>',
    '</testsuite>',
    '',
  ]);
});
