/*
 * One reader of the torture: sh bin/node reader.ts PLACE REFERENCE SEED END_AT_MS FOLDER|-
 * Compares what it finds under PLACE with REFERENCE until the clock says END_AT_MS, writes into PLACE/FOLDER where one is named.
 * Each fault is a line of JSON at once; the last line has the counts.
 */
import { Torturer } from './operations.ts'
import { Random } from './random.ts'

/** Who has seen so many need not see more. */
const FAULTS_MAX = 20

const [place = '', reference = '', seed = '0', endAt = '0', folder = '-'] = process.argv.slice(2)
const torturer = new Torturer(place, reference, new Random(Number(seed)), folder === '-' ? undefined : folder)
while (Date.now() < Number(endAt) && torturer.faults < FAULTS_MAX) torturer.one()
torturer.close()
console.log(JSON.stringify({ counts: torturer.counts, stall: torturer.stall }))
