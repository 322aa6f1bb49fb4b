/** What a test archive's folder holds. Keys of permissions and folders are made up by the test. */
export interface TestEntry {
  name: string | Buffer
  kind: 'dir' | 'file' | 'link' | 'special'
  size?: number
  acl?: string
  /** Folder: its key. Link: its target. Special: its data. */
  text?: string
  /** Special: its type. File: its block size. */
  type?: number
  blocks?: { hash: Buffer; key: Buffer }[]
  /** Any number, to break it. */
  tag?: number
  times?: [number, number]
}

/**
 * Writes Cap'n Proto messages: objects one after another, in segments of at most `segmentWords` words, far pointers between them (double-far
 * ones where `doubleFar`). Enough for this format, and written apart from the reader.
 */
export class MessageWriter {
  readonly #segmentWords: number
  readonly #doubleFar: boolean
  readonly #segments: Buffer[] = []
  readonly #used: number[] = []

  constructor(segmentWords = 2 ** 26, doubleFar = false) {
    this.#segmentWords = segmentWords
    this.#doubleFar = doubleFar
    this.allocate(1)
  }

  /** Room for so many words: segment and word. */
  allocate(words: number): [segment: number, word: number] {
    let segment = this.#segments.length - 1
    const used = this.#used[segment] ?? 0
    if (segment < 0 || used + words > Math.max(this.#segmentWords, words)) {
      this.#segments.push(Buffer.alloc(8 * Math.max(words, Math.min(this.#segmentWords, 512))))
      this.#used.push(0)
      segment += 1
    }
    const word = this.#used[segment] ?? 0
    this.#used[segment] = word + words
    const buffer = this.segment(segment)
    if (buffer.length < 8 * (word + words)) {
      this.#segments[segment] = Buffer.concat([buffer], Math.max(2 * buffer.length, 8 * (word + words)))
    }
    return [segment, word]
  }

  segment(index: number): Buffer {
    return this.#segments[index] ?? Buffer.alloc(0)
  }

  /** Makes the pointer at `slot` name a new object of `words` words; `tag` is the pointer's high half, `kind` 0 or 1. */
  point(slot: [number, number], kind: 0 | 1, high: number, words: number): [number, number] {
    const target = this.allocate(words)
    const [segment, word] = slot
    if (target[0] === segment) {
      this.#put(segment, word, kind | ((target[1] - word - 1) << 2), high)
    } else if (this.#doubleFar) {
      const pad = this.allocate(2)
      this.#put(pad[0], pad[1], 2 | (target[1] << 3), target[0])
      this.#put(pad[0], pad[1] + 1, kind, high)
      this.#put(segment, word, 2 | 4 | (pad[1] << 3), pad[0])
    } else {
      // The landing pad must lie in the target's segment, and here it follows the object.
      const index = target[0]
      const pad = this.#used[index] ?? 0
      this.#used[index] = pad + 1
      if (this.segment(index).length < 8 * (pad + 1)) {
        this.#segments[index] = Buffer.concat([this.segment(index)], 8 * (pad + 64))
      }
      this.#put(index, pad, kind | ((target[1] - pad - 1) << 2), high)
      this.#put(segment, word, 2 | (pad << 3), index)
    }
    return target
  }

  struct(slot: [number, number], dataWords: number, pointers: number): [number, number] {
    return this.point(slot, 0, dataWords | (pointers << 16), dataWords + pointers)
  }

  structs(slot: [number, number], count: number, dataWords: number, pointers: number): [number, number] {
    const words = count * (dataWords + pointers)
    const [segment, word] = this.point(slot, 1, 7 | (words << 3), words + 1)
    this.#put(segment, word, count << 2, dataWords | (pointers << 16))
    return [segment, word + 1]
  }

  bytes(slot: [number, number], bytes: Buffer): void {
    const [segment, word] = this.point(slot, 1, 2 | (bytes.length << 3), Math.ceil(bytes.length / 8))
    bytes.copy(this.segment(segment), 8 * word)
  }

  text(slot: [number, number], text: string | Buffer): void {
    this.bytes(slot, Buffer.concat([Buffer.from(text), Buffer.alloc(1)]))
  }

  finish(): Buffer {
    const count = this.#segments.length
    const table = Buffer.alloc(8 * Math.ceil((4 + 4 * count) / 8))
    table.writeUInt32LE(count - 1, 0)
    this.#used.forEach((words, index) => table.writeUInt32LE(words, 4 + 4 * index))
    return Buffer.concat([
      table,
      ...this.#segments.map((buffer, index) => buffer.subarray(0, 8 * (this.#used[index] ?? 0))),
    ])
  }

  #put(segment: number, word: number, low: number, high: number): void {
    this.segment(segment).writeInt32LE(low | 0, 8 * word)
    this.segment(segment).writeInt32LE(high | 0, 8 * word + 4)
  }
}

const TAGS = { dir: 0, file: 1, link: 2, special: 3 }

/** A Dir message. */
export function dirMessage(
  entries: TestEntry[],
  options: { acl?: string; segmentWords?: number; doubleFar?: boolean } = {},
): Buffer {
  const writer = new MessageWriter(options.segmentWords, options.doubleFar)
  const [segment, word] = writer.struct([0, 0], 2, 5)
  writer.segment(segment).writeBigUInt64LE(4096n, 8 * word)
  if (options.acl !== undefined) writer.text([segment, word + 2 + 4], options.acl)
  const [list, first] = writer.structs([segment, word + 2 + 2], entries.length, 3, 3)
  entries.forEach((entry, index) => writeInode(writer, [list, first + 6 * index], entry))
  return writer.finish()
}

function writeInode(writer: MessageWriter, [segment, word]: [number, number], entry: TestEntry): void {
  const data = writer.segment(segment)
  data.writeBigUInt64LE(BigInt(entry.size ?? 0), 8 * word)
  data.writeUInt16LE(entry.tag ?? TAGS[entry.kind], 8 * word + 8)
  data.writeUInt32LE(entry.times?.[0] ?? 0, 8 * word + 12)
  data.writeUInt32LE(entry.times?.[1] ?? 0, 8 * word + 16)
  writer.text([segment, word + 3], entry.name)
  if (entry.acl !== undefined) writer.text([segment, word + 5], entry.acl)
  const words = entry.kind === 'file' || entry.kind === 'special' ? 1 : 0
  const [inner, at] = writer.struct([segment, word + 4], words, 1)
  if (words > 0) writer.segment(inner).writeUInt16LE(entry.type ?? (entry.kind === 'file' ? 128 : 0), 8 * at)
  if (entry.text !== undefined) writer.text([inner, at + words], entry.text)
  if (entry.blocks === undefined) return
  const [list, first] = writer.structs([inner, at + words], entry.blocks.length, 0, 2)
  entry.blocks.forEach(({ hash, key }, index) => {
    writer.bytes([list, first + 2 * index], hash)
    writer.bytes([list, first + 2 * index + 1], key)
  })
}

/** An ACI message; ids that are not given are not recorded. `dataWords` below 3 leaves them out. */
export function aciMessage(
  aci: { mode: number; uid?: number; gid?: number; uname?: string; gname?: string },
  dataWords = 3,
): Buffer {
  const writer = new MessageWriter()
  const [segment, word] = writer.struct([0, 0], dataWords, 3)
  const data = writer.segment(segment)
  data.writeUInt16LE(aci.mode, 8 * word)
  if (dataWords > 1) data.writeBigInt64LE(~BigInt(aci.uid ?? -1), 8 * word + 8)
  if (dataWords > 2) data.writeBigInt64LE(~BigInt(aci.gid ?? -1), 8 * word + 16)
  if (aci.uname !== undefined) writer.text([segment, word + dataWords], aci.uname)
  if (aci.gname !== undefined) writer.text([segment, word + dataWords + 1], aci.gname)
  return writer.finish()
}
