"""Command lines of a small captioner: cross-entropy, then SCST."""

SMALL = [
    "logger=files",
    "trainer.threads=1",
    "trainer.log_every_n_steps=1",
    "model.embed_dim=16",
    "model.hidden=24",
    "model.attention_hidden=16",
    "data.min_count=1",
    "callbacks.save_every_steps=4",
]
XE = [
    "experiment=toy_caption_xe",
    "trainer.max_epochs=10",
    "data.batch_size=5",
    "data.captions_per_image=5",
]
SCST = [
    "experiment=toy_caption_scst",
    "scst=rennie",
    "dropout=true",
    "data.batch_size=10",
    "trainer.max_epochs=2",
    "scst.samples=2",
]
