//! Replies of proxies, firewalls and web servers instead of the provider.

/// Replies of intermediaries: the sender, the status, the body.
pub(super) const OF_OTHERS: &[(&str, u16, &str)] = &[
    (
        "nginx, http to an https port",
        400,
        "<html>\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    ),
    (
        "nginx, another path",
        404,
        "<html><head><title>404 Not Found</title></head></html>",
    ),
    (
        "nginx, wrong method",
        405,
        "<html><head><title>405 Not Allowed</title></head></html>",
    ),
    ("nginx, long headers", 431, ""),
    ("nginx, client closed", 499, ""),
    (
        "Apache",
        410,
        "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\"><title>410 Gone</title>",
    ),
    (
        "mod_security",
        406,
        "<head><title>Not Acceptable!</title></head>",
    ),
    (
        "a firewall",
        403,
        "<html><body>Request blocked. Incident 1234</body></html>",
    ),
    ("a firewall without a page", 403, ""),
    ("a login page of a gateway", 401, "<html>Sign in</html>"),
    ("a plain 401", 401, "Unauthorized"),
    (
        "a proxy that wants to be logged in to",
        407,
        "<html>Proxy Authentication Required</html>",
    ),
    (
        "the same, in JSON",
        407,
        r#"{"message":"Proxy Authentication Required","code":"P","success":false}"#,
    ),
    ("a host that is not served here", 421, ""),
    ("wrong protocol", 426, "Upgrade Required"),
    ("an empty 400", 400, ""),
    ("an empty 404", 404, " \n"),
    ("an empty 409", 409, ""),
    ("an empty 422", 422, ""),
    (
        "another's JSON",
        404,
        r#"{"timestamp":"2026-11-28T15:00:00Z","status":404,"path":"/v2"}"#,
    ),
    ("an array", 400, r#"["no"]"#),
    ("a text in JSON", 400, r#""no""#),
    ("null", 404, "null"),
    (
        "S3",
        403,
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
    ),
    ("a broken body", 400, r#"{"message":"Unable to perf"#),
    ("moved", 301, ""),
    ("found", 302, "<html>"),
    ("see other", 303, ""),
    ("not modified", 304, ""),
    ("temporarily", 307, ""),
    ("permanently", 308, ""),
];
