import { expect, test } from 'vitest';
import { field } from '../../../src/hw/vmstate/field.ts';
import { vmstate } from '../../../src/hw/vmstate/vmstate.ts';

const INNER = vmstate({ name: 'inner', version: 2, minimumVersion: 1, memoryBytes: 40, fields: { a: field.u8 } });
const inner = {
  name: 'inner',
  version_id: 2,
  minimum_version_id: 1,
  Fields: [{ field: 'a', version_id: 0, field_exists: false, size: 1 }],
};

test('every kind of field is dumped as QEMU dumps it', () => {
  const state = vmstate({
    name: 'all',
    version: 4,
    minimumVersion: 2,
    fields: {
      count: field.u32,
      flag: field.bool,
      deadline: field.timer,
      same: field.equal(field.u16, 7),
      text: field.buffer(12),
      varying: field.buffer('count'),
      bits: field.bitmap(100),
      gap: field.unused(9),
      one: field.struct(INNER),
      three: field.array(field.struct(INNER), 3),
      many: field.array(field.u16, 'count'),
      table: field.pointers(field.struct(INNER), 2, () => false),
      queue: field.queue(INNER),
      tree: field.tree(INNER),
      late: field.named('late_name', field.since(3, field.u8)),
      maybe: field.when(() => true, field.u8),
      rule: field.validate('nothing', () => true),
      heap: field.allocated(field.buffer(16)),
      handle: field.fd,
    },
    subsections: { extra: vmstate({ name: 'all/extra', version: 1, fields: { x: field.i64 } }) },
  });
  const plain = (name: string, size: number, more: object = {}) => ({
    field: name,
    version_id: 0,
    field_exists: false,
    size,
    ...more,
  });
  expect(state.dump()).toEqual({
    name: 'all',
    version_id: 4,
    minimum_version_id: 2,
    Fields: [
      plain('count', 4),
      plain('flag', 1),
      plain('deadline', 8),
      plain('same', 2),
      plain('text', 12),
      plain('varying', 0),
      plain('bits', 0),
      plain('unused', 9),
      plain('one', 40, { Description: inner }),
      plain('three', 40, { num: 3, Description: inner }),
      plain('many', 2),
      plain('table', 8, { num: 2, Description: inner }),
      plain('queue', 40, { Description: inner }),
      plain('tree', 40, { Description: inner }),
      plain('late_name', 1, { version_id: 3 }),
      plain('maybe', 1, { field_exists: true }),
      plain('heap', 0),
      plain('handle', 4),
    ],
    Subsections: [{ name: 'all/extra', version_id: 1, minimum_version_id: 1, Fields: [plain('x', 8)] }],
  });
});
