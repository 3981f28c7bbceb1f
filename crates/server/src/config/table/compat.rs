//! Which contracts of other shops are served. Only the file has a key for it; the variable is one that scripts know.

use super::super::{Contract, Invalid, setting::Setting, value};

pub(super) const COMPAT: &[Setting] = &[Setting {
    key: "compat.contracts",
    env: "LARDER_COMPAT",
    flag: false,
    shape: "CONTRACTS",
    help: "The contracts of other shops that the catalogue's listener serves too: hipstershop is that of Online Boutique, oteldemo that \
           of the OpenTelemetry demo.",
    set: |config, text| {
        config.server.compat = value::optional(text, contracts)?.unwrap_or_default();
        Ok(())
    },
    ..Setting::BASE
}];

fn contracts(text: &str) -> Result<Vec<Contract>, Invalid> {
    const HINT: &str = "write hipstershop, oteldemo, both separated by a comma, or none";
    let mut contracts = Vec::new();
    for name in text.split(',').map(str::trim) {
        let contract = Contract::ALL.into_iter().find(|contract| contract.name() == name);
        let contract = contract.ok_or_else(|| Invalid::new("not a contract that Larder knows", HINT))?;
        if !contracts.contains(&contract) {
            contracts.push(contract);
        }
    }
    Ok(contracts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_go_by_their_packages() {
        assert_eq!(contracts("hipstershop"), Ok(vec![Contract::Hipstershop]));
        assert_eq!(contracts("oteldemo, hipstershop,oteldemo"), Ok(vec![Contract::Oteldemo, Contract::Hipstershop]));
        for wrong in ["", "boutique", "Hipstershop", "hipstershop,", "hipstershop oteldemo"] {
            let hint = contracts(wrong).expect_err(wrong).hint;
            assert!(Contract::ALL.iter().all(|contract| hint.contains(contract.name())), "{wrong}: {hint}");
        }
    }
}
