import t from 'tap'
import { isFloatRounding } from '../../../lib/flist/v1/float-rounding.ts'

void t.test('isFloatRounding() tells the writer’s fault from other damage', (t) => {
  const BLOCK = 524288
  t.ok(isFloatRounding(16777217, 32))
  t.ok(isFloatRounding(33554434, 64))
  t.ok(isFloatRounding(2 ** 30 + 64, 2048))
  t.notOk(isFloatRounding(2 ** 30 + 65, 2048), 'more than half a step')
  t.notOk(isFloatRounding(16777217, 33), 'whole')
  t.notOk(isFloatRounding(16777217, 34), 'more than whole')
  t.notOk(isFloatRounding(16777217, 31), 'short by another block')
  t.notOk(isFloatRounding(BLOCK + 1, 1), 'too small for the fault')
  t.notOk(isFloatRounding(0, 0))
  t.end()
})
