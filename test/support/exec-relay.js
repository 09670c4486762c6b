// Joins stdin and stdout to a unix socket, both ways, for `exec:` migrations: `connect PATH` or `listen PATH`.
// Plain JavaScript so that any Node on the PATH starts it; what socat does where it is installed.
import { connect, createServer } from 'node:net';

const [mode, path] = process.argv.slice(2);
const RETRY_MS = 10;
const TRIES = 1000;

if (mode === 'listen') {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    server.close();
    join(socket);
  }).listen(path);
} else {
  dial(TRIES);
}

/** The listening relay may not be up yet. */
function dial(tries) {
  const socket = connect({ path, allowHalfOpen: true });
  const retry = (error) => {
    if (tries === 0) throw error;
    setTimeout(dial, RETRY_MS, tries - 1);
  };
  socket.once('error', retry);
  socket.once('connect', () => {
    socket.off('error', retry);
    join(socket);
  });
}

function join(socket) {
  process.stdin.pipe(socket);
  socket.pipe(process.stdout);
  // Either end may go first once it has what it needs; the other then sees the end of its stream.
  for (const stream of [socket, process.stdin, process.stdout]) stream.on('error', () => process.exit(0));
}
