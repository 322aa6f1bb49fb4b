import fc from 'fast-check'

// Loaded before a test by `test/fuzz.ts`: properties that say no seed have this one.

fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(process.env['FLISTFS_FUZZ_SEED']) })
