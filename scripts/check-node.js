// Plain JavaScript on purpose: it must run, and explain, on a Node that is too old for everything else.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 12)) {
  console.error(
    `Switchover needs Node >= 24.12 but this is ${process.version}; run it through npm (npm test, npx switchover) after "npm ci", which installs the right Node.`,
  );
  process.exit(3);
}
