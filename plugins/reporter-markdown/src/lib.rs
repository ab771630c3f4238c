//! reporter-markdown
