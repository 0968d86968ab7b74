//! Numbered errors, the same in Rust, C, Python and HTTP. A number is never reused.

use core::fmt;

/// What went wrong. The discriminant is the public error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Error {
    /// The file does not start like a safetensors file.
    NotSafetensors = 101,
    /// The header is malformed, or larger than 64 KiB.
    Header = 102,
    /// The tensors do not tile the data exactly.
    TensorLayout = 103,
    /// A format, input, layer or data type that this version does not run.
    Unsupported = 104,
    /// A tensor's shape does not fit the layer line.
    Shape = 105,
    /// A weight, or the logit that huge weights give, is NaN or infinite.
    NonFinite = 106,
    /// The scratch memory is not aligned to 16 bytes; in C, also other memory misaligned.
    Misaligned = 107,
    /// A required metadata key is absent.
    MetadataMissing = 108,
    /// The model file cannot be opened or mapped (C).
    FileUnreadable = 109,
    /// The URL is empty after trimming ASCII white space.
    EmptyUrl = 201,
    /// The URL is longer than 65,536 bytes, or than a service allows.
    UrlTooLong = 202,
    /// The item is not a string (Python, JSON).
    NotAString = 203,
    /// The scratch memory is shorter than `scratch_len()`.
    ScratchTooSmall = 301,
    /// The output array is too short.
    OutputTooSmall = 302,
    /// A pointer that must not be NULL is (C).
    NullPointer = 303,
    /// The model's memory holds no loaded model (C).
    NotLoaded = 304,
    /// A setting of this name does not exist.
    UnknownSetting = 401,
    /// A setting has a value that it cannot take.
    BadValue = 402,
    /// The address to listen on is in use.
    AddressInUse = 403,
    /// The service is overloaded.
    Overloaded = 501,
    /// The feedback store is unavailable.
    FeedbackUnavailable = 502,
    /// The request is not the JSON that its route expects (HTTP).
    MalformedRequest = 503,
    /// The request's body is too large (HTTP).
    BodyTooLarge = 504,
    /// The service has no such route (HTTP).
    NoSuchRoute = 505,
    /// The route does not have this method (HTTP).
    MethodNotAllowed = 506,
    /// The request took too long (HTTP).
    RequestTimeout = 507,
    /// The body is packed in a way that the service does not know (HTTP).
    UnknownEncoding = 508,
    /// The route needs an API key (HTTP).
    Unauthorised = 509,
    /// The request has more URLs than the service takes at once (HTTP).
    TooManyUrls = 510,
    /// The service does not have a model of this name (HTTP).
    NoSuchModel = 511,
    /// A broken invariant: a defect of this library.
    Internal = 901,
}

impl Error {
    /// Every error, by number.
    pub const ALL: [Self; 31] = [
        Self::NotSafetensors,
        Self::Header,
        Self::TensorLayout,
        Self::Unsupported,
        Self::Shape,
        Self::NonFinite,
        Self::Misaligned,
        Self::MetadataMissing,
        Self::FileUnreadable,
        Self::EmptyUrl,
        Self::UrlTooLong,
        Self::NotAString,
        Self::ScratchTooSmall,
        Self::OutputTooSmall,
        Self::NullPointer,
        Self::NotLoaded,
        Self::UnknownSetting,
        Self::BadValue,
        Self::AddressInUse,
        Self::Overloaded,
        Self::FeedbackUnavailable,
        Self::MalformedRequest,
        Self::BodyTooLarge,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::UnknownEncoding,
        Self::Unauthorised,
        Self::TooManyUrls,
        Self::NoSuchModel,
        Self::Internal,
    ];

    /// The public error number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// One English sentence fragment, without the number.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotSafetensors => "not a safetensors file",
            Self::Header => "header malformed or larger than 64 KiB",
            Self::TensorLayout => "tensors do not tile the data",
            Self::Unsupported => "unsupported format, input, layer or data type",
            Self::Shape => "wrong shape",
            Self::NonFinite => "weight or logit is NaN or infinite",
            Self::Misaligned => "memory not aligned (scratch: to 16 bytes)",
            Self::MetadataMissing => "metadata missing",
            Self::FileUnreadable => "model file cannot be opened or mapped",
            Self::EmptyUrl => "empty URL",
            Self::UrlTooLong => "URL too long",
            Self::NotAString => "not a string",
            Self::ScratchTooSmall => "scratch memory too small",
            Self::OutputTooSmall => "output array too small",
            Self::NullPointer => "NULL pointer",
            Self::NotLoaded => "no model is loaded in this memory",
            Self::UnknownSetting => "unknown setting",
            Self::BadValue => "bad value",
            Self::AddressInUse => "address in use",
            Self::Overloaded => "overloaded",
            Self::FeedbackUnavailable => "feedback store unavailable",
            Self::MalformedRequest => "request is not the JSON that this route expects",
            Self::BodyTooLarge => "request body too large",
            Self::NoSuchRoute => "no such route",
            Self::MethodNotAllowed => "method not allowed on this route",
            Self::RequestTimeout => "request took too long",
            Self::UnknownEncoding => "unknown content encoding",
            Self::Unauthorised => "API key missing or wrong",
            Self::TooManyUrls => "too many URLs in one request",
            Self::NoSuchModel => "no such model",
            Self::Internal => "internal error",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl core::error::Error for Error {}

/// Why a model file was refused, and the tensor, metadata key or layer that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadError<'a> {
    /// The numbered error.
    pub error: Error,
    /// The offending item as it stands in the file; empty when the whole file is meant.
    pub item: &'a str,
}

impl<'a> LoadError<'a> {
    pub(crate) const fn new(error: Error, item: &'a str) -> Self {
        Self { error, item }
    }
}

impl fmt::Display for LoadError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.item.is_empty() {
            self.error.fmt(f)
        } else {
            write!(f, "{}: {}", self.error, self.item)
        }
    }
}

impl core::error::Error for LoadError<'_> {}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn all_lists_every_number_once_in_order() {
        let source = include_str!("error.rs").split("impl Error").next().unwrap_or_default();
        let numbers = source.lines().filter_map(|line| line.trim().split_once(" = "));
        let numbers =
            numbers.filter_map(|(_, number)| number.strip_suffix(',')?.parse::<u16>().ok());
        assert!(numbers.eq(Error::ALL.map(Error::code)));
    }
}
