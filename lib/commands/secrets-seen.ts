/** For what reads the command line, which has no other way to the stores. */
export { hasInlineSecret } from '../store/index.ts'
