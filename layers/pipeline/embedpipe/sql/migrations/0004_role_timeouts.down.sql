-- Undo 0004. Sessions behind a proxy have no timeouts after it.
DO $$
DECLARE
    name text;
    timeout text;
BEGIN
    FOREACH name IN ARRAY ARRAY['embedpipe_app', 'embedpipe_maintenance'] LOOP
        FOREACH timeout IN ARRAY ARRAY[
            'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'
        ] LOOP
            EXECUTE format(
                'ALTER ROLE %I IN DATABASE %I RESET %I', name, current_database(), timeout);
        END LOOP;
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the owner may not reset timeouts of %', name;
END
$$;
