//! The table of codes that loading a pipeline can report.

/// A diagnostic code and its documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// For example `P0101`.
    pub code: &'static str,
    /// Meaning and relevance, in a sentence or two.
    pub summary: &'static str,
    /// Its page in Markdown: the meaning, the fix and an example.
    pub page: &'static str,
}

impl Code {
    /// Returns `true` for a warning, which a pipeline can allow. Other codes are errors,
    /// or notes on an import.
    pub fn is_warning(&self) -> bool {
        const WARNINGS: [&str; 7] = [
            SHORT_SECRET,
            UNUSED_REPORTER,
            UNUSED_VARIABLE,
            UNUSED_PORT,
            UNREACHABLE,
            NO_REPORT,
            UNUSED_ALLOW,
        ];
        self.code.starts_with('F') || WARNINGS.contains(&self.code)
    }
}

macro_rules! codes {
    ($($name:ident $code:literal $summary:literal)*) => {
        $(
            #[doc = $summary]
            pub const $name: &str = $code;
        )*

        /// All codes in order: `P00xx` syntax, `P01xx` schema, `P02xx`
        /// templates, `P03xx` meaning, `P05xx` import, `F00xx` fairness.
        pub const CODES: &[Code] = &[$(Code {
            code: $code,
            summary: $summary,
            page: include_str!(concat!("../explain/", $code, ".md")),
        }),*];
    };
}

codes! {
    FAIRNESS_NO_WARMUP "F0001"
        "No warm-up: the first requests pay for caches that are still cold and work that is done once, and the numbers mix both."
    FAIRNESS_FEW_CYCLES "F0002"
        "A comparison has too few cycles for any winner to be named: even if every cycle says the same, that may be chance."
    FAIRNESS_SEQUENTIAL "F0003"
        "A comparison in sequential order: whatever drifts during the run, such as temperature or clock speed, counts for one engine only."
    FAIRNESS_TEMPERATURE "F0004"
        "A comparison with a temperature above 0: engines draw different tokens, so outputs may differ in length, and with them the work done."
    FAIRNESS_SAMPLING "F0005"
        "Engines are compared with different sampling options, so they draw different tokens and may take different time for each."
    FAIRNESS_CACHE "F0006"
        "Engines are compared with different prefix-cache options: one that answers repeated prompts from its cache does less work."
    FAIRNESS_CONTEXT "F0007"
        "Engines are compared with different context lengths, on which memory and the time of a token depend."
    FAIRNESS_QUANTISATION "F0008"
        "Engines are compared with different quantisation: fewer bits are faster, and another model."
    FAIRNESS_UNPINNED "F0009"
        "A comparison of a model that nothing pins: its file has no `sha256` and no `revision`, so a later run may measure other weights."
    FAIRNESS_BASELINE "F0010"
        "A comparison that does not name its baseline: the first engine is taken, and moving a line changes how every difference reads."
    FAIRNESS_CONDITION "F0011"
        "A stage that sends requests runs for some engines only, so the engines do different work."
    FAIRNESS_SAME "F0012"
        "Two engines are the same plugin with the same options: nothing is compared."
    FAIRNESS_RESOURCES "F0013"
        "Engines are compared with different resources, such as threads: the one with more of the machine is faster for that reason."
    FAIRNESS_MARGIN "F0014"
        "The margin is too small for the number of cycles: even on a quiet machine the interval will be wider than it."
    FAIRNESS_LENGTH "F0015"
        "Engines are told different output lengths by options of their own, so they do different work."
    FAIRNESS_ENGINE_VERSION "F0016"
        "A comparison with an engine that could be pinned to a version and is not, so a later run may measure another build of it."
    FAIRNESS_CACHE_STATE "F0017"
        "A comparison in which prompts repeat and no state of the prefix cache is stated: an engine that answers them from its cache does less work."
    FAIRNESS_ANCHOR "F0018"
        "The anchor of a history that nothing pins: when its build changes, every run after that has another yardstick, and looks like a change of all the others."
    SYNTAX "P0001"
        "The text is not YAML."
    DUPLICATE_KEY "P0002"
        "A mapping holds the same key twice. Parsers disagree about which one counts, so neither does."
    TAG "P0003"
        "A value has a tag. Only `!!str` is supported; types follow from the value itself."
    ALIAS "P0004"
        "An alias has no anchor before it, or stands inside the value it repeats."
    CHARACTER "P0005"
        "The text holds a control character, which YAML does not allow and editors do not show."
    BUDGET "P0006"
        "The file is larger, deeper or, with aliases written out, longer than a pipeline may be."
    DOCUMENT "P0007"
        "A pipeline file is one YAML document, neither none nor several."
    MAPPING "P0008"
        "A key is not plain text, or `<<` does not merge a mapping."
    UNREADABLE "P0009"
        "The file cannot be read, or is not UTF-8 text."
    OPTION "P0010"
        "A `--set` or `--var` argument is not `PATH=VALUE` or `NAME=VALUE`, or its path leads nowhere."
    EXTENDS "P0011"
        "A pipeline extends itself, directly or through other files."
    OTHER_FORMAT "P0012"
        "The file is a configuration of another tool; the help says how to come to a pipeline from it."
    UNKNOWN_KEY "P0101"
        "A key that the file format does not have. It is an error because a misspelt option would silently do nothing."
    MISSING_KEY "P0102"
        "A key that must be given is not."
    WRONG_TYPE "P0103"
        "A value of one kind stands where another kind is needed, for example a string for a number."
    UNKNOWN_VALUE "P0104"
        "A value is not one of the alternatives."
    OUT_OF_RANGE "P0105"
        "A value or a key is of the right kind but too small, too large, empty or not of the required form."
    SCHEMA "P0106"
        "A value breaks another rule of the JSON Schema."
    UNKNOWN_PLUGIN "P0107"
        "No plugin of that name and kind is installed."
    PLUGIN_SCHEMA "P0108"
        "The JSON Schema that a plugin gives for its options is not a valid schema. This is a fault of the plugin."
    DIGITS "P0109"
        "A number that no value holds as it is written: an engine would get another one."
    PLUGIN_OPTION "P0110"
        "The plugin cannot work with its options, for a reason that its schema does not say."
    TEMPLATE_PLACE "P0201"
        "A `${{ }}` template stands where none is evaluated: in a key, or in what is read before any template, such as `version`, `env` or the `id` of a stage."
    TEMPLATE_SYNTAX "P0202"
        "The expression of a `${{ }}` template cannot be parsed."
    TEMPLATE_NAME "P0203"
        "A template uses a variable, filter, test or method that does not exist."
    TEMPLATE_SCOPE "P0204"
        "A template uses a variable that has no value at that place: `matrix` has one in each matrix point, engines and models from the `load` stage on, outputs after the step that gives them."
    TEMPLATE_VALUE "P0205"
        "A template has no value: an environment variable is not set, or the expression fails for the values it is given."
    UNKNOWN_VARIABLE "P0206"
        "`--var` names a variable that the pipeline does not declare under `vars`."
    SHORT_SECRET "P0207"
        "A secret is too short to be masked: it would occur in many words, so it may be shown where something repeats it."
    SECRET_NAME "P0208"
        "The name of an engine, a model, a stage, a matrix point or the like holds a secret. Names tell apart what was measured, and a secret is masked wherever it stands."
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
        "The order of stages is `setup`, then `load`, any number of `warmup` and `measure`, `unload`, and once more from `load` for a fresh start, then `report`. All but one `measure` may be left out."
    SYSTEM_PROMPT "P0308"
        "A system message needs `api: chat`; `completions` sends a prompt as it is."
    UNUSED_REPORTER "P0309"
        "A reporter has options but the `report` stage does not use it."
    DUPLICATE_REPORTER "P0310"
        "The `report` stage names the same reporter twice."
    DUPLICATE_STAGE "P0311"
        "Two stages have the same `id`, so neither results nor templates could tell them apart."
    MATRIX_NAME "P0312"
        "The matrix names an axis, value, engine or model that is not there, or an included point lacks a value."
    MATRIX_VALUE "P0313"
        "An axis of the matrix has the same value twice."
    MATRIX_SIZE "P0314"
        "The matrix has more points than a pipeline may have, or none."
    THRESHOLD "P0315"
        "A threshold bounds nothing, or something that is not there."
    UNUSED_VARIABLE "P0316"
        "A variable, environment variable or axis of the matrix that no template uses: it does nothing."
    UNREACHABLE "P0317"
        "A stage that never does anything: its `if` is always false, or it warms up for a measurement that does not follow."
    NO_REPORT "P0318"
        "There is no `report` stage, so the pipeline does not say where its results go; the default reporters write them."
    UNKNOWN_WARNING "P0319"
        "`allow` names a code that is not a warning. Errors cannot be allowed."
    UNUSED_ALLOW "P0320"
        "`allow` names a warning that does not come up, so the reason given for it may no longer be true."
    IMAGES "P0321"
        "Images need `api: chat` and engines that take it; a raw prompt has no place for them."
    HOW_MANY "P0322"
        "A closed loop with a `duration`, or a dataset without `limit` and `sample`, has no `requests`, so it is not known how many requests to prepare."
    RESIDENT "P0323"
        "Engines that stay loaded within a cycle take turns, which needs two of them, one load for each cycle, and requests that fill the turns."
    MANY_CYCLES "P0324"
        "A comparison has more cycles than its tests have coins for."
    WORKLOAD_SOURCE "P0325"
        "A workload has exactly one of `prompts`, `prompt_files`, `dataset` and `synthetic`, which says where its prompts come from."
    LENGTHS "P0326"
        "Lengths of synthetic prompts that cannot be had: the least is more than the most, or a prefix is longer than a prompt."
    REPLAY "P0327"
        "`replay` sends at the times that a dataset's lines state, so the workload needs a `dataset`."
    API "P0328"
        "An engine does not take the workload's `api`: its plugin says which forms of requests it takes."
    CHAT_TEMPLATE "P0329"
        "For an engine that takes raw prompts, prony renders the model's chat template, so the model needs a `path` or `tokenizer` to read it from. Where prompts are sent as they are, none is rendered."
    STAGE_TIMEOUT "P0330"
        "The `timeout` of a stage ends it before its `duration` is over, so every cycle of it fails."
    UNUSED_PORT "P0331"
        "The command that starts a server does not get the port that prony expects it at."
    CONTROL "P0332"
        "A control is for a comparison whose engines are loaded for each visit, in an order drawn by a coin, and are sent one request at a time."
    OPEN_CYCLES "P0333"
        "`cycles: open` is for comparisons that end the run when they are decided, by bets on the order of the engines that a coin draws."
    NEVER_WARM "P0334"
        "A measurement states `cache: warm`, and nothing before it sends its prompts: an engine has none of them in its cache."
    REFUSED_REQUESTS "P0335"
        "The plugin of an engine refuses requests like the workload's, so every request of a run would fail before it is sent."
    MODEL_FILES "P0340"
        "A model with `files` comes from the Hugging Face hub: its `id` is `organisation/name`, and it has no `path`."
    MISSING_FILE "P0341"
        "A file that the pipeline names is not there or cannot be read, and no step of `setup` may get it."
    ANCHOR "P0342"
        "The anchor of a history is the engine that all others are compared with, so it is the baseline, and there is one."
    IMPORT_FORMAT "P0501"
        "To import: the file is not a configuration of the tool that was named."
    IMPORT_MISSING "P0502"
        "To import: a key that the configuration must have is not there."
    IMPORT_TYPE "P0503"
        "To import: a value of one kind stands where another kind is needed. The tool itself does not check this, and fails later or measures something else."
    IMPORT_RANGE "P0504"
        "To import: a value is of the right kind but too small, too large or empty."
    IMPORT_TEMPLATE "P0505"
        "To import: a text has `${{` in it, which starts a template in a pipeline, so it cannot be carried over."
    IMPORT_NO_MODEL "P0506"
        "To import: no model is enabled. A model without `enabled: true` is skipped by the tool."
    IMPORT_UNKNOWN_KEY "P0511"
        "A note on an import: the tool does not know this key and ignores it, so it is not carried over."
    IMPORT_DEFAULT "P0512"
        "A note on an import: a value is not given, and the default that the tool documents is taken."
    IMPORT_SKIPPED "P0513"
        "A note on an import: a model does not say whether it is enabled, which for the tool means that it is not."
    IMPORT_DIFFERING "P0514"
        "A note on an import: models have different numbers of questions or cycles. A pipeline has one number for all, so the largest is taken."
    IMPORT_REPEATED "P0515"
        "A note on an import: a model is listed twice. A pipeline lists it once."
    IMPORT_PATH "P0516"
        "A note on an import: a path is relative. The tool starts from the folder it was called in, a pipeline from its own folder."
}

/// Finds the page of a code.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|c| c.code == code).map(|c| c.page)
}
