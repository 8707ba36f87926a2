//! What the parts of an event and of its audit records are sealed as, and how a record says so.

/// Nothing that was sealed as one opens as another.
pub mod part {
    pub const PAYLOAD: &str = "payload";
    pub const METADATA: &str = "metadata";
    pub const RESPONSE_EXCERPT: &str = "response_excerpt";
    pub const RESPONSE_HEADERS: &str = "response_headers";
}

/// `payload_form` of an audit record whose event is sealed: what it is once it is opened.
pub mod form {
    const FORMS: [(&str, &str); 3] = [
        ("json", "encrypted"),
        ("redacted", "encrypted_redacted"),
        ("sealed", "encrypted_sealed"),
    ];

    /// As it is written.
    pub fn sealed(form: &'static str) -> &'static str {
        let known = FORMS.iter().find(|(clear, _)| *clear == form);
        known.map_or(form, |(_, sealed)| sealed)
    }

    /// As it is read.
    pub fn opened(form: &str) -> Option<&'static str> {
        let known = FORMS.iter().find(|(_, sealed)| *sealed == form);
        known.map(|(clear, _)| *clear)
    }
}
