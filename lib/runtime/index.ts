export { hideLower, mountOverlay } from './overlay.ts'
export type { OverlayWords, RootAttributes } from './overlay.ts'
