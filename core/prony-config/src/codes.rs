//! Every code that loading a pipeline can report, in one table.

/// A code and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// For example `P0101`.
    pub code: &'static str,
    /// What it means and why it matters.
    pub summary: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $summary:literal)*) => {
        $(pub(crate) const $name: &str = $code;)*

        /// All codes in order: `P00xx` syntax, `P01xx` schema, `P02xx`
        /// templates, `P03xx` meaning, `F00xx` fairness.
        pub const CODES: &[Code] = &[$(Code { code: $code, summary: $summary }),*];
    };
}

codes! {
    FAIRNESS_NO_WARMUP "F0001"
        "No warm-up: the first requests pay for caches that are still cold and work that is done once, and the numbers mix both."
    FAIRNESS_FEW_CYCLES "F0002"
        "A comparison needs at least 6 cycles: with fewer the interval of the difference is not defined, so no verdict is reached."
    FAIRNESS_SEQUENTIAL "F0003"
        "A comparison in sequential order: whatever drifts during the run, such as temperature or clock speed, counts for one engine only."
    FAIRNESS_TEMPERATURE "F0004"
        "A comparison with a temperature above 0: engines draw different tokens, so outputs may differ in length, and with them the work done."
    SYNTAX "P0001"
        "The text is not YAML."
    DUPLICATE_KEY "P0002"
        "A mapping holds the same key twice. Parsers disagree about which one counts, so neither does."
    TAG "P0003"
        "A value has a tag. Only `!!str` is supported; types follow from the value itself."
    ALIAS "P0004"
        "An alias has no anchor, or stands inside the value it repeats."
    CHARACTER "P0005"
        "The text holds a control character, which YAML does not allow and editors do not show."
    BUDGET "P0006"
        "The file is larger, deeper or, with aliases written out, longer than a pipeline may be."
    DOCUMENT "P0007"
        "A pipeline file is one YAML document, neither none nor several."
    MAPPING "P0008"
        "A key is not plain text, or `<<` does not merge a mapping."
    UNREADABLE "P0009"
        "The file can not be read, or is not UTF-8 text."
    UNKNOWN_KEY "P0101"
        "A key that the file format does not have. It is an error because a misspelt option would silently do nothing."
    MISSING_KEY "P0102"
        "A key that must be given is not."
    WRONG_TYPE "P0103"
        "A value of one kind stands where another kind is needed, for example a string for a number."
    UNKNOWN_VALUE "P0104"
        "A value is not one of the alternatives."
    OUT_OF_RANGE "P0105"
        "A value is of the right kind but too small, too large, empty or not of the required form."
    SCHEMA "P0106"
        "A value breaks another rule of the JSON Schema."
    UNKNOWN_PLUGIN "P0107"
        "No plugin of that name and kind is installed."
    PLUGIN_SCHEMA "P0108"
        "The JSON Schema that a plugin gives for its options is not a valid schema. This is a fault of the plugin."
    TEMPLATE_PLACE "P0201"
        "A `${{ }}` template stands where none is evaluated. They work in an engine's `config`, a model's `path`, and the `run`, `env` and `creates` of steps."
    TEMPLATE_SYNTAX "P0202"
        "The expression of a `${{ }}` template can not be parsed."
    TEMPLATE_NAME "P0203"
        "A template uses a variable, filter, test or method that does not exist."
    TEMPLATE_SCOPE "P0204"
        "A template uses a variable that has no value yet at that point: engines and models are known from the `load` stage on."
    ENGINE_CHOICE "P0301"
        "A pipeline has either `engine` or `engines`."
    MODEL_CHOICE "P0302"
        "A pipeline has either `model` or `models`."
    NO_MODEL "P0303"
        "All models are switched off, so there is nothing to run."
    DUPLICATE_MODEL "P0304"
        "Two models have the same id, so results could not be told apart."
    UNKNOWN_REPORTER "P0305"
        "The `report` stage names a reporter that is neither under `reporters` nor an installed plugin."
    UNKNOWN_BASELINE "P0306"
        "The baseline is not one of the engines."
    STAGE_ORDER "P0307"
        "Stages stand in the order `setup`, `load`, `warmup`, `measure`, `unload`, `report`, each at most once; only `measure` is required."
    SYSTEM_PROMPT "P0308"
        "A system message needs `api: chat`; `completions` sends a prompt as it is."
    UNUSED_REPORTER "P0309"
        "A reporter has options but the `report` stage does not use it."
    DUPLICATE_REPORTER "P0310"
        "The `report` stage names the same reporter twice."
}

/// What a code stands for.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|c| c.code == code).map(|c| c.summary)
}
