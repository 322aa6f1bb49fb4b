import t from 'tap'
import { isHole } from '../../lib/make/holes.ts'

t.test('isHole() finds a block among holes', async (t) => {
  t.notOk(isHole({ holes: [] }, 0))
  const holes = [
    [1, 2],
    [4, 8],
    [8, 9],
  ] as const
  const found = Array.from({ length: 11 }, (_, index) => isHole({ holes }, index))
  t.strictSame(
    found.flatMap((is, index) => (is ? [index] : [])),
    [1, 4, 5, 6, 7, 8],
  )
})

t.test('isHole() looks at few of many holes', async (t) => {
  let looks = 0
  const many = Array.from({ length: 1_000_000 }, (_, nth) => [2 * nth, 2 * nth + 1] as const)
  const holes = new Proxy(many, {
    get: (target, name) => {
      looks += 1
      return Reflect.get(target, name) as unknown
    },
  })
  t.ok(isHole({ holes }, 1_500_000))
  t.notOk(isHole({ holes }, 1_500_001))
  t.ok(looks < 100, `${looks} looks`)
})
