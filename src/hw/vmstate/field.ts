/** The kinds of fields a state can have, under one name: `fields: { level: field.u8, deadline: field.timer }`. */

import { array, pointer, pointers, struct, vstruct } from './aggregates.ts';
import { allocated, named, since, validate, when } from './conditions.ts';
import { fd } from './descriptor.ts';
import { list, queue, tree } from './queues.ts';
import { bitmap, buffer, unused } from './raw-bytes.ts';
import { atMost, bool, double, equal, i8, i16, i32, i64, timer, u8, u16, u32, u64 } from './scalars.ts';
import { tmp } from './tmp.ts';

/** Every kind of field; 64-bit integers are bigint, other integers number. */
export const field = {
  u8,
  u16,
  u32,
  u64,
  i8,
  i16,
  i32,
  i64,
  bool,
  double,
  timer,
  fd,
  equal,
  atMost,
  buffer,
  unused,
  bitmap,
  struct,
  vstruct,
  array,
  pointer,
  pointers,
  queue,
  list,
  tree,
  tmp,
  named,
  allocated,
  since,
  when,
  validate,
} as const;
