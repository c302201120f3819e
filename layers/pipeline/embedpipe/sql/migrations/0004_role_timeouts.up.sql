-- The timeouts of our roles, as settings of the roles in this database: what a connection asks for
-- when it starts it gets anyway, but a proxy refuses to be asked, and may reset what it is told.
-- Locks nothing. Holds for sessions that begin later. A role that another owner made stays as it
-- is, with a warning: connections without a proxy ask for the same.
DO $$
DECLARE
    name text;
    timeout text;
BEGIN
    FOREACH name IN ARRAY ARRAY['embedpipe_app', 'embedpipe_maintenance'] LOOP
        FOREACH timeout IN ARRAY ARRAY[
            'statement_timeout = 8000',
            'lock_timeout = 4000',
            'idle_in_transaction_session_timeout = 8000'
        ] LOOP
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %s', name, current_database(), timeout);
        END LOOP;
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'the owner may not set timeouts of %', name;
END
$$;
