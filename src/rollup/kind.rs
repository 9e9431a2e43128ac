//! I1: what a `score_type` names.

/// What kind of value an ERA5 score is. GFS and climatology skill are one kind (L).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueKind {
    Skill,
    Acc,
    Rmse,
}

/// A `score_type`, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `name_lead` is the lead in the name, `None` where it is too large for any lead.
    Era5 {
        value: ValueKind,
        variable: &'a str,
        name_lead: Option<i32>,
    },
    Day1,
    /// Known, and no rule or finding touches it.
    Ignored,
    Unknown,
}

const FORMS: [(&str, ValueKind); 4] = [
    ("era5_skill_gfs_", ValueKind::Skill),
    ("era5_skill_clim_", ValueKind::Skill),
    ("era5_acc_", ValueKind::Acc),
    ("era5_rmse_", ValueKind::Rmse),
];

/// Reads `era5_(skill_gfs|skill_clim|acc|rmse)_(.+)_([0-9]+)h` and the other names of I1.
pub fn parse(score_type: &str) -> Kind<'_> {
    if score_type == "day1_qc_score" {
        return Kind::Day1;
    }
    if score_type == "era5_final_composite_score" || score_type.starts_with("era5_error_") || score_type.starts_with("era5_zero_")
    {
        return Kind::Ignored;
    }
    FORMS
        .iter()
        .find_map(|(prefix, value)| {
            let (variable, digits) = score_type.strip_prefix(prefix)?.strip_suffix('h')?.rsplit_once('_')?;
            let named = !variable.is_empty() && !variable.contains('\n');
            let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            (named && numeric).then(|| Kind::Era5 { value: *value, variable, name_lead: digits.parse().ok() })
        })
        .unwrap_or(Kind::Unknown)
}

/// What was measured and of which variable, in the words of the name: what an archive has beside it.
pub fn metric_and_variable(score_type: &str) -> (Option<&'static str>, Option<&str>) {
    match parse(score_type) {
        Kind::Era5 { variable, .. } => {
            let form = FORMS.iter().map(|(prefix, _)| *prefix).find(|prefix| score_type.starts_with(prefix));
            (form.and_then(|prefix| prefix.strip_prefix("era5_")?.strip_suffix('_')), Some(variable))
        }
        Kind::Day1 => (Some("day1"), None),
        Kind::Ignored | Kind::Unknown => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_was_measured_and_of_what() {
        assert_eq!(metric_and_variable("era5_skill_gfs_2t_24h"), (Some("skill_gfs"), Some("2t")));
        assert_eq!(metric_and_variable("era5_skill_clim_10u_240h"), (Some("skill_clim"), Some("10u")));
        assert_eq!(metric_and_variable("era5_acc_a_24h_024h"), (Some("acc"), Some("a_24h")));
        assert_eq!(metric_and_variable("era5_rmse_msl_48h"), (Some("rmse"), Some("msl")));
        assert_eq!(metric_and_variable("day1_qc_score"), (Some("day1"), None));
        for none in ["era5_final_composite_score", "era5_error_acc_t_24h", "era5_acc_t_24", ""] {
            assert_eq!(metric_and_variable(none), (None, None), "{none}");
        }
    }

    fn era5(value: ValueKind, variable: &str, lead: i32) -> Kind<'_> {
        Kind::Era5 { value, variable, name_lead: Some(lead) }
    }

    #[test]
    fn i1_names() {
        assert_eq!(parse("era5_skill_gfs_2t_24h"), era5(ValueKind::Skill, "2t", 24));
        assert_eq!(parse("era5_skill_clim_10u_240h"), era5(ValueKind::Skill, "10u", 240));
        assert_eq!(parse("era5_acc_a_24h_024h"), era5(ValueKind::Acc, "a_24h", 24));
        assert_eq!(
            parse("era5_rmse_t_99999999999999999999h"),
            Kind::Era5 { value: ValueKind::Rmse, variable: "t", name_lead: None }
        );
        assert_eq!(parse("day1_qc_score"), Kind::Day1);
        for ignored in ["era5_final_composite_score", "era5_error_acc_t_24h", "era5_zero_"] {
            assert_eq!(parse(ignored), Kind::Ignored, "{ignored}");
        }
        for unknown in [
            "",
            "ERA5_acc_t_24h",
            "era5_acc_t_24",
            "era5_acc__24h",
            "era5_acc_t_h",
            "era5_acc_t_-24h",
            "era5_acc_t_24h ",
            "era5_skill_t_24h",
            "era5_acc_q_12 h",
            "era5_acc_t\n_24h",
            "era5_acc_t_٢h",
            "day1_qc_score_",
        ] {
            assert_eq!(parse(unknown), Kind::Unknown, "{unknown:?}");
        }
    }
}
