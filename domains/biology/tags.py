"""Says what an observation knows of an organism: life stage, sex, date, place and setting."""

from __future__ import annotations

from domainclip.domains.contract import TagRule

STAGES = {
    "adult": "an adult",
    "imago": "an adult",
    "juvenile": "a juvenile",
    "larva": "a larva",
    "caterpillar": "a caterpillar",
    "nymph": "a nymph",
    "pupa": "a pupa",
    "egg": "an egg",
    "chick": "a chick",
    "tadpole": "a tadpole",
    "seedling": "a seedling",
    "flowering": "in flower",
    "fruiting": "in fruit",
    "budding": "in bud",
}
"""Stage -> words."""
SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"}
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

CONTEXT: tuple[tuple[str, str], ...] = (
    ("country", "found in {value}"),
    ("country_code", "country code {value}"),
    ("countryCode", "country code {value}"),
    ("state_province", "found in {value}"),
    ("stateProvince", "found in {value}"),
    ("locality", "found at {value}"),
    ("place_guess", "found at {value}"),
    ("habitat", "habitat: {value}"),
    ("event_date", "seen on {value}"),
    ("eventDate", "seen on {value}"),
    ("observed_on", "seen on {value}"),
    ("year", "seen in {value}"),
    ("behavior", "behaviour: {value}"),
    ("behaviour", "behaviour: {value}"),
    ("establishmentMeans", "{value} there"),
    ("fieldNotes", "{value}"),
    ("occurrenceRemarks", "{value}"),
)
"""Key -> words."""

# Stage and sex are context too: a record may tell of them what its picture does not show.
TAGS: tuple[TagRule, ...] = (
    *(
        TagRule(key=key, value=value, say=said, visible=False)
        for key in ("life_stage", "lifeStage", "stage", "phenology", "reproductiveCondition")
        for value, said in STAGES.items()
    ),
    *(
        TagRule(key=key, value=value, say=said, visible=False)
        for key in ("sex", "gender")
        for value, said in SEXES.items()
    ),
    *(
        TagRule(key="month", value=value, say=f"seen in {month}", visible=False)
        for number, month in enumerate(MONTHS, 1)
        for value in dict.fromkeys((str(number), f"{number:02d}", month))
    ),
    *(TagRule(key=key, say=say, visible=False) for key, say in CONTEXT),
)
