-- What jobs on steps have changed is kept beside what jobs on rollups have changed.
SELECT recount.take(current_schema(), 'rollup_step_changes');
