"""Makes the store of format 1 that ``tests/store/test_archive.py`` reads for ever; kept to show how it was made.

python -m tests.data.make_format_1 FOLDER
"""

import sys
from pathlib import Path

from poise.store import FeatureStore
from poise.store.runs import describe_run
from tests.store.features import make_features, make_key, make_spec


def make(folder: Path) -> None:
    store = FeatureStore.create(folder / "store")
    run = describe_run(run="0123456789abcdef", command="extract", encoder={"revision": None})
    with store.writer(make_spec(dim=3), run=run) as writer:
        writer.add(make_features("ann_1", n_clips=2, dim=3))
        writer.add(make_features("höflich\udcff", n_clips=1, dim=3, flags=("short", "quiet")))
        writer.add_name(make_key("ann_1"), "copy/of/ann_1.mp4")
    with store.writer(make_spec(dim=3), run=run) as writer:
        writer.add(make_features("mute", n_clips=0, dim=3, reason="no picture"))
        writer.add(make_features("text", n_clips=0, dim=3, outcome="failed", reason="no media file", attempts=2))
    layered = make_spec(name="layered", modality="audio", dim=2, dtype="float32")
    layered["encoder"]["n_layers"] = 4
    with store.writer(layered, run=run) as writer:
        writer.add(
            make_features(
                "ann_1", n_clips=2, embeddings=make_features("ann_1", n_clips=2, dim=8).embeddings.reshape(2, 4, 2)
            )
        )
    store.export(folder / "export.h5")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
