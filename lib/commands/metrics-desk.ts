import { describeError } from '../base/index.ts'
import type { Metrics } from './metrics.ts'
import type { ServerAnswers, ServerParts } from './server-answers.ts'

interface Counter {
  readonly metrics: Metrics
  readonly close: () => Promise<void>
}

/** An address, and the mounts that want to be asked about there. */
interface Place {
  readonly opening: Promise<Counter>
  readonly members: Set<ServerParts>
  isOpen: boolean
}

/** Where metrics are asked for: one server an address, whose mounts are told apart by a label. */
export class MetricsDesk {
  readonly #places = new Map<string, Place>()

  /**
   * Gives what ends it. Whoever asks for no metrics does not load them; an address that is taken does not end a mount, and nobody who
   * reads waits for one that must be looked up.
   */
  join(parts: ServerParts, answers: ServerAnswers): () => Promise<void> {
    const { data, log } = parts
    const address = data.metrics
    if (address === undefined) return () => Promise.resolve()
    const place = this.#places.get(address) ?? { opening: open(address), members: new Set(), isOpen: false }
    this.#places.set(address, place)
    place.members.add(parts)
    place.opening.then(
      ({ metrics }) => {
        place.isOpen = true
        if (place.members.has(parts)) metrics.add(parts, answers)
      },
      (error: unknown) => {
        this.#forget(address, place)
        if (place.members.has(parts)) log.error('metrics are not served', { error: describeError(error) })
      },
    )
    return async () => {
      place.members.delete(parts)
      const isLast = place.members.size === 0
      if (isLast) this.#forget(address, place)
      const left = place.opening.then(
        ({ metrics, close }) => {
          metrics.remove(parts)
          return isLast ? close() : undefined
        },
        () => undefined,
      )
      if (place.isOpen) await left
    }
  }

  #forget(address: string, place: Place): void {
    if (this.#places.get(address) === place) this.#places.delete(address)
  }
}

async function open(address: string): Promise<Counter> {
  const [{ Metrics }, { serveMetrics }] = await Promise.all([import('./metrics.ts'), import('./metrics-server.ts')])
  const metrics = new Metrics()
  const { close } = await serveMetrics(address, () => metrics.render())
  return { metrics, close }
}
