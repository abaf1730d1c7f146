//! Every fixed bound of the service in one place, with their relations checked at compile time.
//! What an operator may want to change is a setting and lives in config; these bounds protect
//! the formats and the memory of the process.

/// Items in one request, as published in the proto.
pub const BATCH_ITEMS_MAX: usize = 10_000;
/// Characters of a key that a caller chooses.
pub const KEY_CHARS_MAX: usize = 255;
/// Characters of a derived key: a caller's key, a slash and an index below [`BATCH_ITEMS_MAX`].
pub const DERIVED_KEY_CHARS_MAX: usize = KEY_CHARS_MAX + 5;
/// Characters of an id that a provider chose.
pub const TARGET_ID_CHARS_MAX: usize = 255;
/// Ids of one item of which is told that they have strange characters: a request may have millions.
pub const STRANGE_IDS_TOLD_MAX: usize = 10;
/// Characters of an account's name.
pub const ACCOUNT_NAME_CHARS_MAX: usize = 63;
/// Characters of a comment, an enrollment's reason and a line item's description.
pub const TEXT_CHARS_MAX: usize = 1_000;
/// Line items of one cancellation.
pub const LINE_ITEMS_MAX: usize = 50;
/// Units of a line item.
pub const QUANTITY_MAX: i32 = 1_000_000;
/// Subscribers or field values of one enrollment target. Sequenzy takes 500 in a call.
pub const TARGET_VALUES_MAX: usize = 500;
/// Enrollments that a result lists.
pub const ENROLLMENTS_LISTED_MAX: usize = 1_000;

/// Longest time to keep trying a provider that is away.
pub const RETRY_WINDOW_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Shortest such time.
pub const RETRY_WINDOW_MS_MIN: u64 = 1_000;

/// Longest time that a request whose answer was lost may still take effect after it was given up.
pub const SETTLING_MS_MAX: u64 = 60 * 60 * 1_000;
/// Shortest such time.
pub const SETTLING_MS_MIN: u64 = 1_000;
/// Longest time for a whole request, after which its answer counts as lost.
pub const TIMEOUT_MS_MAX: u64 = 10 * 60 * 1_000;

/// Exchanges in one run of one item. A drain takes one for each 1,000 enrollments.
pub const EXCHANGES_MAX: usize = 1_000;
/// Times that a provider may accept a request in one run of one item and a look still find nothing
/// done. What it does not accept is sent again until the retry window ends.
pub const ACCEPTED_MAX: usize = 8;

/// Bytes of a provider's reply that are read. The largest documented one has some 15 KB.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Content codings, such as gzip, that are taken off one reply.
pub const REPLY_CODINGS_MAX: usize = 5;
/// Header lines of a reply over HTTP/1.1.
pub const REPLY_HEADERS_MAX: usize = 500;
/// Bytes of a reply's headers over HTTP/2. Over HTTP/1.1 the client's own bound is a little above.
pub const REPLY_HEADERS_BYTES_MAX: u32 = 256 * 1024;
/// Time after which a connection to a provider that carries nothing is closed.
pub const CONNECTION_IDLE_MS_MAX: u64 = 30_000;
/// Time without a sign of life after which the other end of a connection is asked for one: by a
/// ping over HTTP/2, idle or not, and by TCP.
pub const PING_AFTER_MS: u64 = 10_000;
/// Time in which it has to give one before the connection is given up.
pub const PING_TIMEOUT_MS: u64 = 5_000;
/// Time that sent bytes may be without TCP's acknowledgement before the connection is given up.
/// Linux by itself takes some 15 minutes.
pub const TCP_USER_TIMEOUT_MS: u64 = 5_000;
/// Bytes of a provider's answer that are kept in the journal.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Headers of a provider's answer that are kept with it.
pub const ANSWER_HEADERS_MAX: usize = 20;
/// Bytes of the name, and of the value, of such a header.
pub const ANSWER_HEADER_BYTES_MAX: usize = 256;
/// Characters of a provider's message that are passed on.
pub const MESSAGE_CHARS_MAX: usize = 1_000;

/// Longest pause that a provider's throttling signal is given.
pub const THROTTLE_MS_MAX: u64 = 15 * 60 * 1_000;
/// Items of an account that an admission clears for sending in its own write.
pub const CLEARED_BY_ADMISSION_MAX: usize = 16;
/// Items of an account that are cleared and not sent yet.
pub const CLEARED_MAX: usize = 4_096;
/// Outcomes that wait to be recorded before workers wait too.
pub const SETTLE_QUEUE_MAX: usize = 1_024;
/// Bytes that dry runs may take at least, where all that is open may take so many.
pub const PLANNED_BYTES_MIN: usize = 64 * 1024 * 1024;
/// Results that open streams may hold for their readers, all streams together.
pub const RESULTS_HELD_MAX: usize = 500_000;
/// Time without taking a result after which a reader may lose its room, and its connection, to
/// others. A full window of HTTP/2 takes far less over any line that is alive.
pub const READER_ASLEEP_MS_MIN: u64 = 30_000;
/// Bytes of the items that those results are of, about, all streams together.
pub const RESULTS_BYTES_HELD_MAX: usize = 512 * 1024 * 1024;

/// Bytes of one value in the store. Above some 8 KiB sled moves values to files that it never
/// syncs, so a record that is longer goes into several values.
pub const STORE_VALUE_BYTES_MAX: usize = 6 * 1024;
/// Bytes of one record before it is compressed: a group of outcomes with the longest answers
/// and lists is far below.
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Batches in a row that are older than what is asked for, after which no others are looked for:
/// so many may be admitted while the clock is behind.
pub const INTAKE_OLDER_MAX: usize = 10_000;
/// Ranges of cleared items that a batch's record may have: they fit into one value with all else.
pub const RECORD_RANGES_MAX: usize = 128;
/// Items whose commands share a record.
pub const RECORD_ITEMS: usize = 16;
/// Writes that are made durable together.
pub const COMMIT_GROUP_MAX: usize = 512;

/// Notes about open items that share a record.
pub const RECORD_NOTES: usize = 256;
/// Targets of a request that may still act are kept for at least so long after it cannot any more.
pub const DOUBT_KEPT_SECONDS: u64 = 24 * 60 * 60;
/// Of those that need not be kept any more, how many a purge removes.
pub const DOUBTS_REMOVED_MAX: usize = 1_024;

/// Bytes of the ballast, a file that a journal gives up to open on a full disk.
pub const BALLAST_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of the store's file below which it is not worth the work to make it smaller.
pub const STORE_FILE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Entries of the store that are counted in one go, while writers wait.
pub const STORE_COUNT_ENTRIES: usize = 2_000;
/// Entries that are copied to a fresh store in one go, while writers wait.
pub const STORE_COPY_ENTRIES: usize = 256;
/// Bytes of them, but for the last one.
pub const STORE_COPY_BYTES: usize = 256 * 1024;

/// Connections of the admin listener.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Lines of the log that wait to be written, of some hundred bytes each; what comes on top is
/// dropped.
pub const LOG_LINES_WAITING_MAX: usize = 32_768;
/// Spans that wait for their collector; what comes on top is dropped.
pub const SPANS_WAITING_MAX: usize = 8_192;
/// Members of a caller's `tracestate`, by W3C Trace Context.
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;
/// Bytes of all of them together.
pub const TRACE_STATE_BYTES_MAX: usize = 512;
/// Bytes of one beyond which it is the first to go if they are more.
pub const TRACE_STATE_MEMBER_BYTES: usize = 128;
/// The name of the audit's directory in the journal's.
pub const AUDIT_DIR: &str = "audit";
/// Bytes of the audit's file after which another one is begun.
pub const AUDIT_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Time after which another one is begun, so that retention takes little more than it should.
pub const AUDIT_SEGMENT_SECONDS: i64 = 24 * 60 * 60;
/// Time between two looks at what the audit has to tell.
pub const AUDIT_LOOK_MS: u64 = 100;
/// Entries of the trail that are read in one go.
pub const AUDIT_ENTRIES: usize = 16;
/// How long a caller for whose lines the audit has no room is told to wait: somebody has to make
/// it.
pub const AUDIT_FULL_RETRY_SECONDS: u64 = 10 * 60;
/// Bytes of a text in a line of the audit that is not an id.
pub const AUDIT_TEXT_BYTES_MAX: usize = 255;
/// Refusals of one source for one reason that have a line each, in the audit and in the log, when
/// they come at once; then it is one a minute. With the count of the others each minute, a flood
/// for one reason writes about a megabyte a day.
pub const REFUSALS_BURST: f64 = 50.0;
/// See [`REFUSALS_BURST`].
pub const REFUSALS_PER_SECOND: f64 = 1.0 / 60.0;
/// Refusals for one reason, of all addresses that one caller or that strangers call from, that have
/// a line each when they come at once. Half of it is for the first refusal of each address. A flood
/// from many addresses writes some ten megabytes a day.
pub const REFUSALS_TOGETHER_BURST: f64 = 500.0;
/// See [`REFUSALS_TOGETHER_BURST`].
pub const REFUSALS_TOGETHER_PER_SECOND: f64 = 10.0 / 60.0;
/// Sources that refusals are thinned out by, with each reason of theirs: about 200 KiB. The one
/// that was quiet for longest makes room for a new one.
pub const REFUSALS_SOURCES_MAX: usize = 1_024;
/// Sources whose counts have lines of their own, the largest first; one line for each reason has
/// the others.
pub const REFUSALS_SOURCES_COUNTED: usize = 16;
/// Time between two counts of the refusals that got no line.
pub const REFUSALS_COUNTED_SECONDS: u64 = 60;
/// Looks at what is others', and the like, that wait while the audit cannot be written; then they
/// are refused.
pub const AUDIT_NOTED_WAITING_MAX: usize = 10_000;
/// Refusals that wait while the audit cannot be written; others are counted.
pub const AUDIT_REFUSALS_WAITING_MAX: usize = 1_000;

/// Bytes of one request message: 10,000 items with full comments fit.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of any other request message: it asks for a key or a page.
pub const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a question that anybody may ask: it holds a service's name.
pub const BRIEF_BYTES_MAX: usize = 1024;
/// Time in which such a question has to arrive.
pub const BRIEF_MS_MAX: u64 = 5_000;
/// Bytes that all calls of those hold together who have not shown a caller: health, and calls that
/// wait until it is known who makes them. Room for 2,048 questions for health, far more than probes
/// and balancers ask at a time, and little beside what else the process needs.
pub const STRANGERS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that calls for health hold together on connections that have shown a caller.
pub const HEALTH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that calls of reflection hold together. Tools for people make them, a few at a time.
pub const REFLECTION_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that an open call for health takes: 7.4 KiB were measured, of streams, tasks and timers.
pub const HEALTH_CALL_BYTES: usize = 8 * 1024;
/// Bytes that an open call of reflection may take: what may arrive of its stream and is not read
/// while its answers are not.
pub const REFLECTION_CALL_BYTES: usize = 1024 * 1024;
/// Bytes that a call takes of which it is not known yet who makes it: all its headers, and the
/// call.
pub const UNIDENTIFIED_CALL_BYTES: usize = 24 * 1024;
/// Bytes that are read from a connection while calls of strangers wait on it, whose requests nobody
/// reads meanwhile.
pub const UNIDENTIFIED_UNREAD_BYTES_MAX: usize = 64 * 1024;
/// Questions for health that one connection may have open. A probe has one.
pub const HEALTH_CHECKS_MAX: usize = 16;
/// Watches of health that one connection may have open. A client has one.
pub const HEALTH_WATCHES_MAX: usize = 8;
/// Calls of reflection that one connection may have open. A tool has one or two.
pub const REFLECTION_CALLS_MAX: usize = 4;
/// Bytes of a request to cancel for each item that its caller may send, beside those of the largest
/// item that there can be.
pub const REQUEST_BYTES_FOR_EACH: usize = 16 * 1024;
/// Bytes of the largest item: one with the most subscribers, all of them with the longest ids.
pub const ITEM_BYTES_MAX: usize = 1024 * 1024;
/// Memory for other requests that are being received, all connections together.
pub const QUESTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time in which a request message has to arrive.
pub const RECEIVE_MS_MAX: u64 = 60_000;
/// Time in which a request may arrive as slowly as it likes.
pub const RECEIVE_SLOWLY_MS_MAX: u64 = 10_000;
/// Bytes a second that have to arrive of it after that, on the whole.
pub const RECEIVE_BYTES_PER_SECOND_MIN: usize = 32 * 1024;
/// Results in one response message.
pub const RESPONSE_RESULTS_MAX: usize = 500;
/// Bytes of one response message, below the 4 MiB that gRPC clients take by default.
pub const RESPONSE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Records on a page of ListCancellations.
pub const PAGE_RECORDS_MAX: usize = 1_000;
/// Records on a page if the caller does not say.
pub const PAGE_RECORDS_DEFAULT: usize = 100;
/// Records that one call of ListCancellations looks at.
pub const PAGE_RECORDS_EXAMINED_MAX: usize = 50_000;
/// Entries of the store that one call of ListCancellations reads, and what is left of the log in
/// which it gets there.
pub const PAGE_ENTRIES_READ_MAX: usize = 50_000;
/// Bytes of them, packed and unpacked.
pub const PAGE_BYTES_READ_MAX: usize = 32 * 1024 * 1024;

/// Calls of ListCancellations that are answered or wait at a time, all callers together.
pub const SCANS_MAX: usize = 256;
/// Those of one caller, if its settings do not say.
pub const CALLER_SCANS_DEFAULT: usize = 16;
/// Threads that read for ListCancellations: few, since each takes a core while it reads.
pub const SCAN_THREADS: usize = 2;
/// Calls of GetCancellation that are answered or wait at a time, all callers together.
pub const GETS_MAX: usize = 1_024;
/// Threads that read for GetCancellation.
pub const GET_THREADS: usize = 4;
/// Threads that read for StopBatch.
pub const STOP_THREADS: usize = 2;
/// Threads that look for the keys of requests with items that would be refused if they were new.
pub const KNOWN_THREADS: usize = 8;
/// Threads that look whether other keys aim at the target of an item that is about to be sent.
pub const TARGET_THREADS: usize = 4;
/// Time that a question waits for its turn at a thread.
pub const TURN_MS_MAX: u64 = 10_000;

/// Bytes of a token that is shown: JWTs with many claims have some 4,000. Below what all headers
/// of a call may have.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Entries of the list of revoked proofs, which is held in memory.
pub const REVOKED_MAX: usize = 100_000;
/// Bytes of that list's file.
pub const REVOKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// By how much clocks may differ when a JWT's times are checked.
pub const JWT_LEEWAY_SECONDS: u64 = 30;
/// Bytes of an issuer's keys that are read.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Keys that an issuer may have.
pub const JWKS_KEYS_MAX: usize = 100;
/// Time in which an issuer has to send its keys.
pub const JWKS_FETCH_MS_MAX: u64 = 5_000;
/// Least time between two requests for an issuer's keys, however many tokens name unknown ones.
pub const JWKS_PAUSE_MS_MIN: u64 = 10_000;
/// Bytes of a certificate's URI that can be a caller's: what SPIFFE allows.
pub const SAN_BYTES_MAX: usize = 2_048;
/// Bytes of a file of certificates or keys that are read.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;
/// Time that a connection's certificate is good for before it is checked again.
pub const CERTIFICATE_CHECK_MS: u64 = 60_000;

/// How far the clock may be ahead of what was seen, and what has passed since, and something is
/// deleted by it.
pub const CLOCK_AHEAD_SECONDS_MAX: u64 = 3_600;
/// How far it may go back without a word. Beyond that nothing is deleted for
/// [`DOUBT_KEPT_SECONDS`].
pub const CLOCK_BACK_SECONDS_MAX: u64 = 60;
/// How long a clock that is ahead at the start has to hold its course to be believed.
pub const CLOCK_HELD_SECONDS: u64 = 3_600;

const _: () = {
    assert!(DERIVED_KEY_CHARS_MAX > KEY_CHARS_MAX);
    assert!(ANSWER_BYTES_MAX < REPLY_BYTES_MAX);
    // One result with its answer has to fit into a message.
    assert!(4 * ANSWER_BYTES_MAX < RESPONSE_BYTES_MAX);
    assert!(RESPONSE_BYTES_MAX < 4 * 1024 * 1024);
    assert!(PAGE_RECORDS_MAX < PAGE_RECORDS_EXAMINED_MAX);
    assert!(ACCEPTED_MAX < EXCHANGES_MAX);
    // One connection cannot have a room to itself.
    assert!(
        (HEALTH_CHECKS_MAX + HEALTH_WATCHES_MAX) * HEALTH_CALL_BYTES < STRANGERS_BYTES_MAX / 16
    );
    assert!(REFLECTION_CALLS_MAX * REFLECTION_CALL_BYTES < REFLECTION_BYTES_MAX);
    // A dead connection is found while it may still be used again.
    assert!(PING_AFTER_MS + PING_TIMEOUT_MS < CONNECTION_IDLE_MS_MAX);
};
