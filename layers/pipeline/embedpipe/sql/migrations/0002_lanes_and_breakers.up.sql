-- Embed queues by lane, and circuit breakers that all workers share.
-- Locks outbox while its check is replaced: it is small, rows stay for moments.

ALTER TABLE outbox DROP CONSTRAINT outbox_queue_known;
ALTER TABLE outbox ADD CONSTRAINT outbox_queue_known
    CHECK (queue IN ('chunk', 'embed', 'embed_high', 'embed_low', 'store'));

-- One row per provider that ever failed. `term` grows with every transition; each is made only
-- from the term that its maker saw, so that of two makers one loses and nobody undoes a newer one.
CREATE TABLE circuit_breakers (
    provider    text COLLATE "C" NOT NULL,
    state       text NOT NULL DEFAULT 'closed',
    failures    integer NOT NULL DEFAULT 0,
    opened_at   timestamptz,
    retry_at    timestamptz,
    probe_owner text,
    probe_until timestamptz,
    last_error  text NOT NULL DEFAULT '',
    term        bigint NOT NULL DEFAULT 0,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT circuit_breakers_pk PRIMARY KEY (provider),
    CONSTRAINT circuit_breakers_provider_length CHECK (char_length(provider) BETWEEN 1 AND 64),
    CONSTRAINT circuit_breakers_state_known CHECK (state IN ('closed', 'open', 'half_open')),
    CONSTRAINT circuit_breakers_failures_positive CHECK (failures >= 0),
    CONSTRAINT circuit_breakers_open_says_when
        CHECK (state = 'closed' OR (opened_at IS NOT NULL AND retry_at IS NOT NULL))
);

-- No tenant: a provider is the same for all. Nothing in it comes from a tenant.
GRANT SELECT, INSERT, UPDATE ON circuit_breakers TO embedpipe_app, embedpipe_maintenance;
