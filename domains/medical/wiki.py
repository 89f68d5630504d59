"""Where the page of a finding, cell or tissue is read, and what vouches for it."""

from __future__ import annotations

from domainclip.domains.contract import WikiRules

WIKI = WikiRules(
    sections=("appearance", "morphology", "structure", "histology", "microscop", "description"),
    context=(
        "blood",
        "blood cell",
        "white blood cell",
        "red blood cell",
        "blood cells",
        "bone marrow",
        "haematology",
        "hematology",
        "immune cell",
        "cell biology",
        "leukocyte",
        "erythrocyte",
        "histology",
        "pathology",
        "radiology",
        "medical sign",
        "tissue",
        "disease",
        "anatomy",
        "anatomical",
        "cells",
        "epithelial",
        "epithelium",
        "lung",
        "radiologic sign",
        "tomography",
        "immune system",
    ),
)
