// Prints `N passed, N failed, N skipped` from vitest's JSON report. Plain JavaScript: it must run on the system's Node too.
// A test file that could not be loaded, and a failed step that no failed test explains, count as one failure each.
import { readFileSync } from 'node:fs';

const [reportPath, failedSteps] = process.argv.slice(2);
const NO_REPORT = { numPassedTests: 0, numFailedTests: 1, numPendingTests: 0, numTodoTests: 0, testResults: [] };
const report = readReport();
const brokenFiles = report.testResults.filter(
  (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
).length;
const failedTests = report.numFailedTests + brokenFiles;
const failed = Math.max(failedTests, Number(failedSteps));
console.log(
  `${report.numPassedTests} passed, ${failed} failed, ${report.numPendingTests + report.numTodoTests} skipped`,
);

/** The tests did not get as far as a report: that is a failure too. */
function readReport() {
  try {
    return JSON.parse(readFileSync(reportPath, 'utf8'));
  } catch {
    return NO_REPORT;
  }
}
