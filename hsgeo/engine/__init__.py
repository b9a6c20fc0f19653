"""The engine: runs a callable over the tiles of a raster of any size, and keeps what is done if it is interrupted.

It never learns what the callable does. See `run.run` for the contract, `plan.TilePlan` for the tiles.
"""
