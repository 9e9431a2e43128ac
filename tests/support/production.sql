-- What sets a production database apart from phase0.sql: constraints and indexes under another tool's names, and steps that know
-- the job which wrote them.

DO $$
DECLARE c record;
BEGIN
    FOR c IN SELECT conrelid::regclass AS tab, conname, 'prod_' || row_number() OVER (ORDER BY conrelid, conname) AS name
             FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0 LOOP
        EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', c.tab, c.conname, c.name);
    END LOOP;
    FOR c IN SELECT i.relname AS conname, 'ix_prod_' || row_number() OVER (ORDER BY i.oid) AS name
             FROM pg_class i WHERE i.relnamespace = current_schema()::regnamespace AND i.relkind = 'i'
               AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid) LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', c.conname, c.name);
    END LOOP;
END $$;

CREATE TABLE validator_jobs (id bigserial PRIMARY KEY, job_type varchar(64) NOT NULL DEFAULT 'any');
ALTER TABLE weather_forecast_steps ALTER retry_count SET NOT NULL;
ALTER TABLE weather_forecast_steps ADD job_id bigint;
ALTER TABLE weather_forecast_steps
    ADD CONSTRAINT prod_fk_steps_job FOREIGN KEY (job_id) REFERENCES validator_jobs (id) ON DELETE SET NULL;
CREATE INDEX ix_prod_steps_job ON weather_forecast_steps (job_id);
