/** The public API, one name per line. What is not exported here may change in any release. */

export { type Clock, ManualClock, systemClock } from './base/clock.ts';
export { type ErrorCode, type ErrorDetails, HarnessError, isHarnessError } from './base/errors.ts';
export { createLogger, type Logger, silentLogger } from './base/log.ts';
export type { DeviceConfig } from './hw/device-thread.ts';
export { type GuestOptions, parseGuestOption } from './hw/guest/guest-options.ts';
export type { RunState } from './hw/run-state.ts';
export type { JudgedPart, Ledger, LedgerPart, LedgerPhase } from './migration/ledger.ts';
export { MigrationOptions } from './migration/options/options.ts';
export type { MigrationStatus } from './migration/status.ts';
export { Vm, type VmConfig } from './migration/vm.ts';
export type { MigrationInfo, RamInfo, SwitchoverInfo, VmControl, VmEvent } from './migration/vm-control.ts';
export { connectQmp, type QmpAddress, type QmpClient, type QmpEvent } from './qmp/client.ts';
export type { StreamAnalysis } from './report/analysis.ts';
export { analyzeStream, formatAnalysis } from './report/analyze.ts';
