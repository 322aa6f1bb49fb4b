import { TAR_FIELD } from '../../lib/oci/tar/tar-header.ts'

/** Fields of one header block, each as it should stand there. */
export interface RawFields {
  readonly [field: string]: string | Buffer
}

/** A header block field by field, with the right checksum. A text fills its field from the left; what follows is NUL. */
export function rawHeader(fields: RawFields): Buffer {
  const usual: RawFields = {
    mode: '0000644',
    uid: '0000000',
    gid: '0000000',
    size: '00000000000',
    mtime: '00000000000',
  }
  const block = Buffer.alloc(512)
  for (const [name, value] of Object.entries({ ...usual, magic: 'ustar\x0000', type: '0', ...fields })) {
    const [at] = TAR_FIELD[name as keyof typeof TAR_FIELD]
    block.set(typeof value === 'string' ? Buffer.from(value, 'latin1') : value, at)
  }
  return withSum(block)
}

export function withSum(block: Buffer): Buffer {
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

export function padded(data: Buffer | string): Buffer {
  const bytes = Buffer.from(data as string)
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)])
}

/** A pax header of records that stand there as given: `[key, value]`. */
export function paxBlocks(records: readonly (readonly [string, string | Buffer])[], type = 'x'): Buffer {
  const body = Buffer.concat(
    records.map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')])
      let length = rest.length + 1
      while (String(length).length + rest.length !== length) length += 1
      return Buffer.concat([Buffer.from(String(length)), rest])
    }),
  )
  return Buffer.concat([rawHeader({ name: 'pax', type, size: octal(body.length) }), padded(body)])
}

export function octal(value: number, digits = 11): string {
  return value.toString(8).padStart(digits, '0')
}

/** Base 256, the first bit set. */
export function base256(value: bigint, bytes: number): Buffer {
  const out = Buffer.alloc(bytes)
  let rest = BigInt.asUintN(bytes * 8, value)
  for (let at = bytes - 1; at >= 0; at -= 1) {
    out[at] = Number(rest & 0xffn)
    rest >>= 8n
  }
  out[0] = (out[0] ?? 0) | 0x80
  return out
}

export async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
