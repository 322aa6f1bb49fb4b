export { claimChanges, inheritChanges, releaseChanges, removeElderChanges } from './changes.ts'
export { hideLower, mountOverlay } from './overlay.ts'
export type { OverlayWords, RootAttributes } from './overlay.ts'
