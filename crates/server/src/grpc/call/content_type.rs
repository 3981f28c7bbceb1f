//! The content type of a call.

use http::{HeaderMap, header::CONTENT_TYPE};

/// The kind of a request, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentType {
    /// gRPC with messages in Protocol Buffers.
    Grpc,
    /// gRPC with messages in another encoding.
    GrpcOther,
    /// gRPC-Web with messages in Protocol Buffers.
    GrpcWeb,
    /// Not gRPC.
    Other,
}

/// Reads the content type as a media type: letters of either case, and parameters behind a semicolon.
pub(super) fn content_type(headers: &HeaderMap) -> ContentType {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return ContentType::Other };
    // Nearly every client sends this.
    if value == "application/grpc" {
        return ContentType::Grpc;
    }
    let essence = value.to_str().ok().and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let (essence, encoding) = match essence.split_once('+') {
        None => (essence, None),
        Some((essence, encoding)) => (essence, Some(encoding)),
    };
    let web = essence.eq_ignore_ascii_case("application/grpc-web");
    match encoding {
        None if web => ContentType::GrpcWeb,
        Some(encoding) if web && encoding.eq_ignore_ascii_case("proto") => ContentType::GrpcWeb,
        _ if !essence.eq_ignore_ascii_case("application/grpc") => ContentType::Other,
        Some("") => ContentType::Other,
        Some(encoding) if !encoding.eq_ignore_ascii_case("proto") => ContentType::GrpcOther,
        None | Some(_) => ContentType::Grpc,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> ContentType {
        content_type(&values.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn content_types_are_media_types() {
        let grpc = ["application/grpc", "Application/gRPC", "application/grpc+proto", "APPLICATION/GRPC+Proto"];
        let with_parameters =
            ["application/grpc;charset=utf-8", "application/grpc ; a=b; c=d", "application/grpc+proto;"];
        for text in grpc.into_iter().chain(with_parameters) {
            assert_eq!(read(&[text]), ContentType::Grpc, "{text}");
        }
        for text in ["application/grpc+json", "application/grpc+thrift; a=b", "application/grpc+proto+x"] {
            assert_eq!(read(&[text]), ContentType::GrpcOther, "{text}");
        }
        for text in ["application/grpc-web", "Application/gRPC-Web+proto", "application/grpc-web; a=b"] {
            assert_eq!(read(&[text]), ContentType::GrpcWeb, "{text}");
        }
        for text in [
            "",
            "application",
            "application/grpcfoo",
            "application/grpc-web+json",
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
            "application/grpc+",
            "application/json",
            "text/plain; application/grpc",
            "xapplication/grpc",
            "application/ grpc",
        ] {
            assert_eq!(read(&[text]), ContentType::Other, "{text}");
        }
        assert_eq!(read(&[]), ContentType::Other);
        assert_eq!(read(&["application/grpc", "application/grpc"]), ContentType::Other);
    }
}
