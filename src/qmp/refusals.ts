/** What QEMU answers to postcopy's commands while postcopy is off, which here it always is (spec/control.md §8.4, §8.5). */

/** Texts by command. */
export const POSTCOPY_REFUSALS = {
  start: 'Enable postcopy with migrate_set_capability before the start of migration',
  pause: 'migrate-pause is currently only supported during postcopy-active or postcopy-recover state',
  recover: 'Migrate recover can only be run when postcopy is paused.',
} as const;

/** What QEMU says of things that this machine does not have, to both monitors. */
export const ABSENCES = {
  wakeup: 'wake-up from suspend is not supported by this guest',
  colo: 'VM is not in COLO mode',
  spice: 'SPICE is not in use',
  noSpice: "Parameter 'protocol' expects 'spice'",
} as const;
