"""Sizes and length statistics of the published data sets, for every benchmark that works at their size."""

from __future__ import annotations

# questions of VQA v2 with 3, 4, ... 14 or more tokens, in per mille of 48,061
QUESTION_LENGTHS = (31, 114, 257, 193, 197, 100, 51, 27, 14, 8, 4, 4)
# captions of COCO with 8, 9, ... 20 words or signs
CAPTION_LENGTHS = (179, 233, 217, 139, 84, 51, 33, 21, 14, 10, 7, 5, 7)
# captions of VisDial 1.0 with 8, 9, ... word parts, in 97 dialogs
DIALOG_CAPTIONS = (9, 11, 18, 11, 8, 11, 8, 8, 5, 4, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
# its questions with 1, 2, ... word parts, in 970 rounds
DIALOG_QUESTIONS = (1, 11, 115, 178, 318, 165, 73, 54, 25, 17, 8, 2, 3)
# its answers, those given and all options, with 1, 2, ... word parts, in 970 rounds and in per mille
DIALOG_ANSWERS = (417, 65, 80, 97, 89, 59, 43, 26, 21, 16, 5, 13, 7, 4, 5, 6, 3, 4, 2, 1, 2, 1, 0, 1, 1, 0, 0, 0, 0, 0,
                  0, 0, 0, 1, 0, 0, 1)  # fmt: skip
DIALOG_OPTIONS = (229, 103, 120, 115, 112, 88, 59, 42, 31, 24, 19, 15, 10, 8, 6, 4, 3, 3, 2, 2, 1, 1, 1, 1)
