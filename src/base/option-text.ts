/** How QEMU's command line puts several values into one argument. */

/** The parts between single commas; a doubled comma is one in a part. */
export function splitParts(text: string): string[] {
  // No argument of a process has a NUL in it.
  return text
    .replaceAll(',,', '\0')
    .split(',')
    .map((part) => part.replaceAll('\0', ','));
}
