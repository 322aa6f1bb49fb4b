import { describeError } from '../base/index.ts'
import type { Metrics } from './metrics.ts'
import type { ServerAnswers, ServerParts } from './server-answers.ts'

interface Counter {
  readonly metrics: Metrics
  readonly close: () => Promise<void>
}

/** Where metrics are asked for: one server an address, whose mounts are told apart by a label. */
export class MetricsDesk {
  readonly #counters = new Map<string, Promise<Counter>>()

  /** Gives what ends it. Whoever asks for no metrics does not load them; an address that is taken does not end a mount. */
  async join(parts: ServerParts, answers: ServerAnswers): Promise<() => Promise<void>> {
    const { data, log } = parts
    const address = data.metrics
    if (address === undefined) return () => Promise.resolve()
    try {
      const opening = this.#counters.get(address) ?? open(address)
      this.#counters.set(address, opening)
      const { metrics, close } = await opening
      metrics.add(parts, answers)
      return async () => {
        if (metrics.remove(parts) > 0) return
        this.#counters.delete(address)
        await close()
      }
    } catch (error) {
      this.#counters.delete(address)
      log.error('metrics are not served', { error: describeError(error) })
      return () => Promise.resolve()
    }
  }
}

async function open(address: string): Promise<Counter> {
  const [{ Metrics }, { serveMetrics }] = await Promise.all([import('./metrics.ts'), import('./metrics-server.ts')])
  const metrics = new Metrics()
  const { close } = await serveMetrics(address, () => metrics.render())
  return { metrics, close }
}
