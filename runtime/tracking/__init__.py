"""The tracker: FairMOT's cascade with ByteTrack's low-score stage, in arrays.

Import ``Tracker`` from ``runtime`` or ``runtime.tracking.tracker``; this package itself loads
nothing, so that a command line can read ``TrackerConfig`` without NumPy.
"""
