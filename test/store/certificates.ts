import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Why tests that need certificates cannot run here, or false. */
export const NO_OPENSSL: string | false = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'needs openssl'
  }
})()

/**
 * In `dir`: `ca.pem`, an authority; `server.pem` and `client.pem` that it signed, for ::1, 127.0.0.1 and localhost; `elsewhere.pem`, for
 * another host; and the key of each.
 */
export function makeCertificates(dir: string): void {
  const openssl = (...words: string[]): void => void execFileSync('openssl', words, { cwd: dir, stdio: 'ignore' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test authority', '-days', '2')
  for (const [name, hosts] of [
    ['server', 'IP:::1,IP:127.0.0.1,DNS:localhost'],
    ['client', 'IP:::1,IP:127.0.0.1,DNS:localhost'],
    ['elsewhere', 'DNS:elsewhere.example'],
  ] as const) {
    writeFileSync(join(dir, 'san'), `subjectAltName=${hosts}\n`)
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    const sign = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'san']
    openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.pem`, ...sign)
  }
}

/** As a server takes them. */
export function pairOf(dir: string, name: string): { key: Buffer; cert: Buffer } {
  return { key: readFileSync(join(dir, `${name}.key`)), cert: readFileSync(join(dir, `${name}.pem`)) }
}
