// Removes dist, so that a build never ships a file whose source is gone. Plain JavaScript: it runs before any tool.
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

rmSync(fileURLToPath(new URL('../dist', import.meta.url)), { recursive: true, force: true });
