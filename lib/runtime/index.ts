export { claimChanges, inheritChanges, releaseChanges } from './changes.ts'
export { hideLower, mountOverlay } from './overlay.ts'
export type { OverlayWords, RootAttributes } from './overlay.ts'
