/**
 * The largest of everything a peer can make us read, allocate or wait for. Checked before memory or a loop depends on
 * it; the name appears in the error. QEMU's own bounds where it has one, otherwise ours (spec/wire.md §12).
 */
export const LIMITS = {
  /** Machine name in the configuration section (bytes). QEMU would allocate whatever it is told. */
  MACHINE_NAME_BYTES: 255,
  /** Capability names in `configuration/capabilities`. QEMU 10 has 22. */
  CONFIGURATION_CAPABILITIES: 256,
  /** RAM blocks in one list: a machine has tens. */
  RAM_BLOCKS: 4096,
  /** Sections a stream may start (START and FULL). */
  SECTIONS: 65_536,
  /** Elements of arrays, queues and trees of one device's state whose numbers the stream tells. */
  VMSTATE_ELEMENTS: 1_048_576,
  /** Bytes of one buffer, array or bitmap of a device's state whose length the stream tells. */
  VMSTATE_BYTES: 1024 * 1024 * 1024,
  /** Subsections of one device's state, at all levels. QEMU's devices have a few each. */
  VMSTATE_SUBSECTIONS: 4096,
  /** vmdescription JSON (bytes). q35 needs 44 KB, pc 99 KB. */
  VMDESCRIPTION_BYTES: 16 * 1024 * 1024,
  /** Bytes of one PACKAGED blob. */
  PACKAGED_BYTES: 256 * 1024 * 1024,
  /** Data of one return-path message; QEMU's reader keeps 512 bytes. */
  RETURN_PATH_BYTES: 512,
  /** Data of one record of a VFIO section; QEMU's source sends 1 MiB at most. */
  VFIO_DATA_BYTES: 16 * 1024 * 1024,
  /** Zlib stream of one page of legacy `compress` (bytes): the most that zlib makes of 4096. */
  COMPRESSED_PAGE_BYTES: 4110,
  /** Payload of one device-state packet: QEMU's header of 12 bytes and its copy buffer of 1 MiB. */
  STATE_PACKET_BYTES: 12 + 1024 * 1024,
  /** Index of a device-state packet: a state of 16 TiB. */
  STATE_PACKET_INDEX: 16_777_215,
  /** Device-state packets of one device that may be missing while later ones are there. */
  STATE_PACKET_HOLES: 16_384,
  /**
   * State that waits for its device while multifd channels go on to bring more (bytes), for all devices together; channels
   * stand still beyond.
   */
  STATE_QUEUED_BYTES: 64 * 1024 * 1024,
  /**
   * State beyond that (bytes), for all devices together, that channels bring while every one of them stands still for one device
   * and what another waits for is behind it.
   */
  STATE_ENTANGLED_BYTES: 256 * 1024 * 1024,
  /** Devices that a destination may report on over the extended return path. */
  PEER_DEVICES: 1024,
  /** Parts of the downtime ledger that a destination may send. */
  LEDGER_PARTS: 8192,
  /** Payload of one command (its length field is 16 bits). */
  COMMAND_BYTES: 65_535,
  /** One QMP input line or object (bytes); QEMU's lexer stops at 64 MiB. */
  QMP_INPUT_BYTES: 64 * 1024 * 1024,
  /** Nesting of one QMP value, as QEMU's parser. */
  QMP_NESTING: 1024,
  /** How long to wait, after EOF, for a vmdescription that an old sender may leave out (ms). */
  VMDESCRIPTION_MS: 1000,
  /** How long a connection attempt may take (ms). */
  CONNECT_MS: 30_000,
  /** Data of one multifd packet (bytes): QEMU's buffer is twice a packet's pages. */
  MULTIFD_PACKET_BYTES: 1024 * 1024,
  /** Window that the zstd stream of a multifd channel may ask for (its logarithm): what level 20, QEMU's highest, needs. */
  MULTIFD_ZSTD_WINDOW_LOG: 25,
  /** How long a destination waits until the main channel and all multifd channels are there and have greeted (ms). */
  MULTIFD_ARRIVAL_MS: 30_000,
  /** How long multifd channels may still come after the main channel has ended (ms). */
  MULTIFD_LATE_MS: 1000,
  /** Bytes of the main channel that a destination keeps while it waits for the others; more stay in the kernel. */
  MULTIFD_MAIN_AHEAD_BYTES: 262_144,
  /** Connections that a destination bears, while it waits for them, beyond those of the migration. */
  MULTIFD_STRAY_CONNECTIONS: 16,
  /** How long a multifd channel may stand still while others wait for it (ms). */
  MULTIFD_STALL_MS: 60_000,
  /** How long a command whose stream has been read may live on (ms). */
  EXEC_END_MS: 2000,
  /** TLS handshakes that a listener carries on at once: 255 multifd channels, the main one, and as many strays. */
  TLS_HANDSHAKES: 512,
  /** How long a client may take for the TLS handshake (ms). */
  TLS_HANDSHAKE_MS: 30_000,
  /** How long the destination may take to end a TLS connection after the source has (ms): it loads what is on the way. */
  TLS_CLOSE_MS: 60_000,
  /** How long to wait for the destination's SHUT after the last byte was sent (ms). */
  SHUT_MS: 60_000,
} as const;
